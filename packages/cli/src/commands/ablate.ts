import type { Command } from "commander";
import { ablate } from "../ablate.js";
import { type CommonOptions, command } from "../command.js";
import { createRun } from "../run.js";

export function ablateCommand(signal: AbortSignal): Command {
  return command(
    "ablate",
    "Run a grid of measures, planners, strategies, repairs and depths over one capture; an interrupted grid goes on where it stopped.",
    "layerfold ablate examples/ablation/foldling.yaml --out layerfold-out/ablation",
  )
    .argument("<recipe>", "YAML file: model, texts, and a list for each axis of the grid")
    .requiredOption("--out <folder>", "table (CSV, JSON, Markdown) and report.html go here")
    .action(async (recipe: string, options: CommonOptions & { out: string }) => {
      const run = createRun(options, signal);
      const result = await ablate(recipe, options.out, run);
      run.terminal.result(
        result,
        `${result.combinations} combinations in ${result.cells.length} rows, ${result.distinct} distinct folded models (${result.resumed} measured before) → ${options.out}`,
      );
    });
}
