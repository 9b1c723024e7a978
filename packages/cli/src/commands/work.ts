import { LayerfoldError } from "@layerfold/core";
import { runWorker } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, integer, memoryOption, several } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

interface WorkOptions extends CommonOptions {
  readonly store: string;
  readonly stage?: string;
  readonly rank?: number;
  readonly plugin?: readonly string[];
  readonly idle?: number;
  readonly tries?: number;
}

export function workCommand(signal: AbortSignal): Command {
  return command(
    "work",
    "Make what runs ask for that share a store: on any machine that sees it, as many workers as you like. Ends with Ctrl-C, or with the store.",
    "layerfold work --store shared/grid",
  )
    .requiredOption("--store <location>", "the same that the run was given: a folder, or s3://BUCKET/PREFIX")
    .option("--stage <id>", "only one task: its stage")
    .option("--rank <number>", "and its place in the stage", integer(0))
    .option("--plugin <module>", "a plug-in of your own that tasks may name; may be given often", several)
    .option("--idle <seconds>", "end after so long without work (default: never)", integer(0))
    .option("--tries <number>", "tries of a task that fails before it is given up", integer(1), 3)
    .addOption(memoryOption())
    .action(async ({ store, stage, rank, plugin, idle, tries, ...options }: WorkOptions) => {
      if ((stage === undefined) !== (rank === undefined)) {
        throw new LayerfoldError("OPTION_INVALID", "a single task is named by its stage and its rank", {
          wanted: "--stage and --rank, or neither",
          got: stage === undefined ? "--rank alone" : "--stage alone",
        });
      }
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const { seed, memory } = options;
      const request = { store, stage, rank, plugins: plugin, idleSeconds: idle, tries };
      const counts = await runWorker(request, { seed, memory, signal, report: run.terminal.report });
      run.terminal.result(counts, `${counts.made} tasks made, ${counts.failed} failed`);
    });
}
