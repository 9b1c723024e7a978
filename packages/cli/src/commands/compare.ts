import { LayerfoldError } from "@layerfold/core";
import { compareResults, comparisonMarkdown, type ResultComparison } from "@layerfold/pipeline";
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
import { type CommonOptions, createCommandRun } from "../run.js";

interface CompareOptions extends CommonOptions {
  readonly tasks?: string;
  readonly data?: string;
  readonly limit?: number;
  readonly numFewshot?: number;
  readonly fewshotSeed?: number;
  readonly text?: readonly string[];
  readonly window?: number;
  readonly stride?: number;
  readonly maxTokens?: number;
  readonly beginToken: "auto" | "always" | "never";
  readonly prompt?: readonly string[];
  readonly maxNewTokens?: number;
  readonly gate?: string;
  readonly out?: string;
}

export function compareCommand(signal: AbortSignal): Command {
  return withWorkers(
    withDevice(
      command(
        "compare",
        "Hold models against the first of them, document by document; with --gate, exit code 3 where one has lost too much.",
        'layerfold compare results/dense results/folded --gate "acc(mmlu)>0.97x"',
      ),
    ),
  )
    .argument(
      "<models...>",
      "two or more: folders of results (layerfold eval --out DIR --log-samples), checkpoint folders, or hf:org/name",
    )
    .option(
      "--tasks <names>",
      "tasks that checkpoints are asked, as in eval; of results: those that are compared (default: all)",
    )
    .option("--data <folder>", "folder with the tasks' data")
    .addOption(limitOption())
    .addOption(fewshotOption())
    .addOption(fewshotSeedOption())
    .option(
      "--text <text>",
      "of checkpoints: perplexity, KL divergence from the first and top-1 agreement with it; FILE or FILE[from:to], may be given often",
      several,
    )
    .option(
      "--window <tokens>",
      "tokens of a text that a model sees at once (default: 512, or its context)",
      integer(2),
    )
    .option("--stride <tokens>", "tokens between two windows' starts (default: the window)", integer(1))
    .option("--max-tokens <tokens>", "only the first so many tokens of a text", integer(2))
    .addOption(beginTokenOption())
    .option(
      "--prompt <text>",
      "of checkpoints: what each goes on with, greedily; may be given often (default: how the first text's first three windows begin)",
      several,
    )
    .option("--max-new-tokens <count>", "most tokens to make of each (default: 48)", integer(1))
    .option(
      "--gate <conditions>",
      'what must hold, commas between: "perplexity<1.05x, acc(mmlu)>-0.02d" (x: ratio to the first, d: difference from it)',
    )
    .option("--out <folder>", "write compare.json, compare.md and a manifest")
    .option(
      "--store <folder>",
      "where finished work is kept and found again, by this and by other commands (default: OUT.work)",
    )
    .option("--keep-work", "keep that folder when all is done (layerfold clean frees it)")
    .addOption(memoryOption())
    .action(async (models: readonly string[], options: CompareOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const { data, limit, numFewshot, fewshotSeed, window, stride, maxTokens, beginToken } = options;
      const { text: texts, prompt: prompts, maxNewTokens, gate, out } = options;
      const tasks = options.tasks?.split(",").map((name) => name.trim());
      const asked = { tasks, data, limit, fewshot: numFewshot, fewshotSeed };
      const read = { texts, window, stride, maxTokens, beginToken, prompts, maxNewTokens };
      const found = await compareResults({ models, ...asked, ...read, gate, out }, run);
      run.terminal.result(found, comparisonMarkdown(found).trimEnd());
      requireGate(found);
    });
}

/** @throws GATE_BROKEN, which is exit code 3 */
function requireGate({ gate }: ResultComparison): void {
  if (!gate || gate.passed) return;
  const broken = gate.verdicts.filter(({ passed }) => !passed);
  throw new LayerfoldError(
    "GATE_BROKEN",
    `${broken.length} of ${gate.verdicts.length} conditions do not hold: ${broken.map(({ model, condition, found }) => `${model}: ${condition} is ${Number(found.toPrecision(6))}`).join("; ")}`,
  );
}
