import { devices } from "@layerfold/onnx";
import { executorNames, parseMemory } from "@layerfold/pipeline";
import { Command, InvalidArgumentError, Option } from "commander";

/** A command with the options that all share, and an example in its help. */
export function command(name: string, summary: string, example: string): Command {
  return new Command(name)
    .description(summary)
    .option("--json", "print the result as JSON on stdout")
    .option("--quiet", "print nothing but errors (and the result with --json)")
    .option("--seed <integer>", "seed of everything random", integer(0), 0)
    .option(
      "--set <kind.option=value>",
      "an option of a plug-in, e.g. embedding.alpha=0.5; may be given often",
      (value: string, before: string[] = []) => [...before, value],
    )
    .addHelpText("after", `\nExample:\n  $ ${example}\n`);
}

/** Of commands that run models. */
export function memoryOption(): Option {
  return new Option(
    "--memory <size>",
    "memory that may be used, e.g. 8GiB; a model that is larger runs block by block (default: what is free)",
  ).argParser(parseMemory);
}

/** Of commands that ask documents of tasks. */
export function limitOption(): Option {
  return new Option("--limit <documents>", "only the first so many documents of each task").argParser(
    integer(1),
  );
}

export function fewshotOption(): Option {
  return new Option(
    "--num-fewshot <examples>",
    "examples before each document (default: as the task says)",
  ).argParser(integer(0));
}

export function fewshotSeedOption(): Option {
  return new Option("--fewshot-seed <integer>", "seed that examples are drawn by (default: 1234)").argParser(
    integer(0),
  );
}

/** Of commands that score texts. */
export function beginTokenOption(): Option {
  return new Option(
    "--begin-token <policy>",
    "give the tokenizer's begin token: auto = with documents, not with a stream",
  )
    .choices(["auto", "always", "never"])
    .default("auto");
}

/** The options of a command whose tasks need not run in its own process. */
export function withWorkers(made: Command): Command {
  return made
    .addOption(
      new Option(
        "--executor <name>",
        "where tasks run: this machine, a Slurm cluster, or workers that listen to a queue",
      )
        .choices(executorNames)
        .default("local"),
    )
    .option(
      "--workers <number>",
      "tasks that run side by side; of local: processes of this machine, 0 for those started by hand with layerfold work (default: this process makes all)",
      integer(0),
    )
    .option("--queue <url>", "of bullmq: redis://HOST:PORT");
}

/** The options of a command that runs a model: where. */
export function withDevice(made: Command): Command {
  return made
    .addOption(
      new Option("--device <name>", "where models run (default: cpu, or what a recipe says)").choices(
        devices,
      ),
    )
    .option(
      "--allow-fallback",
      "let what the device has no kernel for run on the CPU; else such a model is refused",
    );
}

/** Parses an option as an integer of at least `minimum`. */
export function integer(minimum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < minimum || text.trim() === "") {
      throw new InvalidArgumentError(`wanted an integer of at least ${minimum}.`);
    }
    return value;
  };
}

/** Gathers an option that may be given often. */
export function several(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
