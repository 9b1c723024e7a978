import { ablate } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, memoryOption, withDevice, withWorkers } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

export function ablateCommand(signal: AbortSignal): Command {
  return withWorkers(
    withDevice(
      command(
        "ablate",
        "Run a grid of measures, planners, strategies, repairs and depths over one capture; an interrupted grid goes on where it stopped.",
        "layerfold ablate examples/ablation/foldling.yaml --out layerfold-out/ablation",
      ),
    ),
  )
    .argument("<recipe>", "YAML file: model, texts, and a list for each axis of the grid")
    .requiredOption("--out <folder>", "table (CSV, JSON, Markdown) and report.html go here")
    .option(
      "--store <location>",
      "where finished work is kept and found again, by this and by other commands: a folder, or s3://BUCKET/PREFIX (default: OUT.work, which stays)",
    )
    .option("--keep-work", "keep that folder when all is done (layerfold clean frees it)")
    .addOption(memoryOption())
    .action(async (recipe: string, options: CommonOptions & { out: string }) => {
      const run = createCommandRun(options, signal);
      const result = await ablate(recipe, options.out, run);
      run.terminal.result(
        result,
        `${result.combinations} combinations in ${result.cells.length} rows, ${result.distinct} distinct folded models (${result.tasks.made} tasks made, ${result.tasks.found} found done) → ${options.out}`,
      );
    });
}
