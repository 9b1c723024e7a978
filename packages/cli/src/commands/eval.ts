import { LayerfoldError } from "@layerfold/core";
import { benchmarkIds } from "@layerfold/evaluate";
import { evaluateTasks, measure } from "@layerfold/pipeline";
import type { RunningSummary } from "@layerfold/quantize";
import type { Command } from "commander";
import {
  beginTokenOption,
  command,
  fewshotOption,
  fewshotSeedOption,
  integer,
  limitOption,
  memoryOption,
  several,
  withDevice,
  withWorkers,
} from "../command.js";
import { type CommandRun, type CommonOptions, createCommandRun } from "../run.js";
import { evaluationTable, taskTable } from "../table.js";

interface EvalOptions extends CommonOptions {
  readonly perplexity?: readonly string[];
  readonly text?: readonly string[];
  readonly questions?: string;
  readonly task?: readonly string[];
  readonly window?: number;
  readonly stride?: number;
  readonly maxTokens?: number;
  readonly beginToken: "auto" | "always" | "never";
  readonly tasks?: string;
  readonly data?: string;
  readonly limit?: number;
  readonly numFewshot?: number;
  readonly fewshotSeed?: number;
  readonly out?: string;
  readonly logSamples?: boolean;
}

export function evalCommand(signal: AbortSignal): Command {
  return withWorkers(
    withDevice(
      command(
        "eval",
        "Perplexity on texts, accuracy on questions and on public benchmarks.",
        "layerfold eval models/foldling/checkpoint --perplexity models/foldling/data/validation.jsonl --questions models/foldling/data/questions-test.jsonl",
      ),
    ),
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .option(
      "--perplexity <text>",
      ".txt (one stream) or .jsonl (one document a line), FILE or FILE[from:to] ([from:to] = rows, tokens of a stream); may be given often",
      several,
    )
    .option("--text <text>", "the same", several)
    .option("--questions <file>", ".jsonl with question, choices, answer; answered by letter")
    .option(
      "--task <name:file>",
      `public benchmark: ${benchmarkIds.join(", ")}; NAME:FILE or NAME:FILE[from:to], may be given often`,
      several,
    )
    .option(
      "--window <tokens>",
      "tokens that the model sees at once (default: of texts 512, or the model's context; of questions its context)",
      integer(2),
    )
    .option(
      "--tasks <names>",
      "tasks of lm-evaluation-harness by name, groups (mmlu) or task files by path, with commas between them; their data is looked for in --data",
    )
    .option("--data <folder>", "folder with the tasks' data, as the hub has it or as TASK/SPLIT.jsonl")
    .addOption(limitOption())
    .addOption(fewshotOption())
    .addOption(fewshotSeedOption())
    .option(
      "--out <folder>",
      "write result files in the harness's layout; what is finished is kept beside it until all is",
    )
    .option("--log-samples", "with --out: one line for each document too")
    .option(
      "--store <folder>",
      "of --tasks: where finished work is kept and found again, by this and by other commands (default: OUT.work)",
    )
    .option("--keep-work", "keep that folder when all is done (layerfold clean frees it)")
    .option("--stride <tokens>", "tokens between two windows' starts (default: the window)", integer(1))
    .option("--max-tokens <tokens>", "score only the first so many tokens of the text", integer(2))
    .addOption(beginTokenOption())
    .addOption(memoryOption())
    .action(async (model: string, options: EvalOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      if (options.tasks !== undefined) {
        const tasks = await evaluated(model, options.tasks, options, run);
        return run.terminal.result(
          { model: tasks.model, ...tasks.results, files: tasks.files },
          taskTable(tasks),
        );
      }
      const { questions, window, stride, maxTokens, beginToken, task: named = [] } = options;
      const given = [...(options.perplexity ?? []), ...(options.text ?? [])];
      const found = await measure(
        { model, texts: given, tasks: named, questions, window, stride, maxTokens, beginToken },
        run,
      );
      const { texts, tasks, running, questions: answered } = found;
      const { text: _, ...first } = texts[0] ?? {};
      const facts = {
        ...first,
        ...answered,
        ...(texts.length > 1 && { texts }),
        ...(tasks.length > 0 && { tasks }),
        ...(running && { quantized: running }),
      };
      const lines = [
        texts.length > 1 || tasks.length > 0
          ? evaluationTable(texts, tasks)
          : texts.map(
              ({ perplexity, tokens, begin_token_given: begun }) =>
                `perplexity ${perplexity.toFixed(4)} over ${tokens} tokens (begin token ${begun ? "given" : "not given"})`,
            )[0],
        running && runningText(running),
        answered &&
          `accuracy ${(answered.accuracy * 100).toFixed(1)} ± ${(answered.stderr * 100).toFixed(1)} % (${answered.correct} of ${answered.count})`,
      ];
      run.terminal.result(facts, lines.filter(Boolean).join("\n"));
    });
}

/** @throws OPTIONS_CONFLICT, DATA_MISSING where no folder is named */
function evaluated(model: string, named: string, options: EvalOptions, run: CommandRun) {
  const others = (["perplexity", "text", "questions", "task"] as const).find(
    (name) => options[name] !== undefined,
  );
  if (others !== undefined) {
    throw new LayerfoldError("OPTIONS_CONFLICT", "tasks by name are asked alone", {
      wanted: `--tasks without --${others}`,
      where: "--tasks",
    });
  }
  const { data, limit, numFewshot, fewshotSeed, window, out, logSamples } = options;
  if (data === undefined) {
    throw new LayerfoldError("DATA_MISSING", "the tasks' data is not named", { wanted: "--data FOLDER" });
  }
  const tasks = named.split(",").map((name) => name.trim());
  return evaluateTasks(
    { model, tasks, data, limit, fewshot: numFewshot, fewshotSeed, window, out, logSamples },
    run,
  );
}

/** How much of the figure is the kernel's own arithmetic. */
function runningText({ packed, simulated, simulated_activations: activations }: RunningSummary): string {
  const parts = [`${packed} weights multiplied in their packed form`];
  if (simulated > 0) parts.push(`${simulated} simulated by their dequantised values`);
  if (activations) parts.push(`${activations} activations simulated in float32`);
  return `quantised: ${parts.join(", ")}`;
}
