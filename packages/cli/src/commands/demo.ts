import { join } from "node:path";
import { checkpoint, data } from "@layerfold/foldling";
import { presetIds } from "@layerfold/merge";
import { compress } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, withDevice } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { resultTable } from "../table.js";

export function demoCommand(signal: AbortSignal): Command {
  return withDevice(
    command(
      "demo",
      "The whole way on foldling, our own small model: 2, 4, 6 and 7 of its 16 layers folded away, beside their drop controls.",
      "layerfold demo --method layerfold",
    ),
  )
    .option("--method <name>", `preset: ${presetIds.join(", ")}`, "mka")
    .option(
      "--out <folder>",
      "where report.html, results.json and the folded checkpoints go",
      "layerfold-out/demo",
    )
    .action(async (options: CommonOptions & { method: string; out: string }) => {
      const run = createCommandRun(options, signal);
      const result = await compress(
        {
          model: checkpoint,
          layers: [14, 12, 10, 9],
          method: options.method,
          calibration: join(data, "calibration.jsonl"),
          evaluate: [join(data, "validation.jsonl")],
          questions: join(data, "questions-test.jsonl"),
          out: options.out,
          force: true,
        },
        run,
      );
      run.terminal.result(
        { rows: result.rows, notes: result.notes, tasks: result.tasks },
        resultTable(result.rows),
      );
      run.terminal.say(`Open ${join(options.out, "report.html")} in a browser.`);
    });
}
