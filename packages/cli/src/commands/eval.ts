import { benchmarkIds } from "@layerfold/evaluate";
import { measure } from "@layerfold/pipeline";
import type { RunningSummary } from "@layerfold/quantize";
import { type Command, Option } from "commander";
import { command, integer, memoryOption, several, withDevice } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { evaluationTable } from "../table.js";

interface EvalOptions extends CommonOptions {
  readonly perplexity?: readonly string[];
  readonly text?: readonly string[];
  readonly questions?: string;
  readonly task?: readonly string[];
  readonly window?: number;
  readonly stride?: number;
  readonly maxTokens?: number;
  readonly beginToken: "auto" | "always" | "never";
}

export function evalCommand(signal: AbortSignal): Command {
  return withDevice(
    command(
      "eval",
      "Perplexity on texts, accuracy on questions and on public benchmarks.",
      "layerfold eval models/foldling/checkpoint --perplexity models/foldling/data/validation.jsonl --questions models/foldling/data/questions-test.jsonl",
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
    .option("--stride <tokens>", "tokens between two windows' starts (default: the window)", integer(1))
    .option("--max-tokens <tokens>", "score only the first so many tokens of the text", integer(2))
    .addOption(
      new Option(
        "--begin-token <policy>",
        "give the tokenizer's begin token: auto = with documents, not with a stream",
      )
        .choices(["auto", "always", "never"])
        .default("auto"),
    )
    .addOption(memoryOption())
    .action(async (model: string, options: EvalOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
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

/** How much of the figure is the kernel's own arithmetic. */
function runningText({ packed, simulated, simulated_activations: activations }: RunningSummary): string {
  const parts = [`${packed} weights multiplied in their packed form`];
  if (simulated > 0) parts.push(`${simulated} simulated by their dequantised values`);
  if (activations) parts.push(`${activations} activations simulated in float32`);
  return `quantised: ${parts.join(", ")}`;
}
