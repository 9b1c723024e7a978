import { LayerfoldError } from "@layerfold/core";
import { type QueueWorkerRequest, runWorker, type WorkerRequest } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, integer, memoryOption, several } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

interface WorkOptions extends Omit<CommonOptions, "store"> {
  readonly store?: readonly string[];
  readonly concurrency?: number;
  readonly patience?: number;
  readonly stage?: string;
  readonly rank?: number;
  readonly plugin?: readonly string[];
  readonly idle?: number;
  readonly tries?: number;
}

export function workCommand(signal: AbortSignal): Command {
  return command(
    "work",
    "Make what runs ask for: those that share a store, on any machine that sees it, or those that share a queue; as many workers as you like. Ends with Ctrl-C, or with the store.",
    "layerfold work --store shared/grid",
  )
    .option(
      "--store <location>",
      "the same that the run was given: a folder, or s3://BUCKET/PREFIX; with --queue may be given often (default there: stores that stand already and are yours)",
      several,
    )
    .option("--queue <url>", "be told by a queue what to do: redis://HOST:PORT, as the run was given")
    .option(
      "--concurrency <number>",
      "with --queue: tasks at a time, each in a process of its own (default: 1)",
      integer(1),
    )
    .option(
      "--patience <seconds>",
      "with --queue: how long it may be gone before the worker ends (default: 300)",
      integer(0),
    )
    .option("--stage <id>", "only one task: its stage")
    .option("--rank <number>", "and its place in the stage", integer(0))
    .option("--plugin <module>", "a plug-in of your own that tasks may name; may be given often", several)
    .option("--idle <seconds>", "end after so long without work (default: never)", integer(0))
    .option("--tries <number>", "tries of a task that fails before it is given up", integer(1), 3)
    .addOption(memoryOption())
    .action(async (options: WorkOptions) => {
      const request = requestOf(options);
      const { json, quiet, set, seed, memory } = options;
      const run = createCommandRun({ json, quiet, set, seed, memory }, signal);
      run.settings.assertUsed();
      const counts = await runWorker(request, { seed, memory, signal, report: run.terminal.report });
      run.terminal.result(counts, `${counts.made} tasks made, ${counts.failed} failed`);
    });
}

function requestOf(options: WorkOptions): WorkerRequest | QueueWorkerRequest {
  const { store: stores = [], queue, stage, rank, plugin, idle, tries, concurrency, patience } = options;
  const given = { plugins: plugin, idleSeconds: idle, tries };
  if (queue !== undefined) {
    if (stage !== undefined || rank !== undefined) {
      throw wrong("a queue tells which task is to be made", "--queue, or --stage and --rank", "both");
    }
    return { ...given, queue, stores: stores.length > 0 ? stores : undefined, concurrency, patience };
  }
  if (concurrency !== undefined || patience !== undefined) {
    const got = concurrency === undefined ? "--patience" : "--concurrency";
    throw wrong("this is an option of a queue's worker", "--queue URL beside it", got);
  }
  if (stores.length !== 1) {
    throw wrong("a worker without a queue works in one store", "--store once", `${stores.length} times`);
  }
  if ((stage === undefined) !== (rank === undefined)) {
    throw wrong(
      "a single task is named by its stage and its rank",
      "--stage and --rank, or neither",
      stage === undefined ? "--rank alone" : "--stage alone",
    );
  }
  return { ...given, store: stores[0], stage, rank };
}

function wrong(message: string, wanted: string, got: string): LayerfoldError {
  return new LayerfoldError("OPTION_INVALID", message, { wanted, got });
}
