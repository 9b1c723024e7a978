import { openTokenizer, readQuestions } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { multipleChoice, perplexity } from "@layerfold/evaluate";
import type { RunningSummary } from "@layerfold/quantize";
import { type Command, Option } from "commander";
import { type CommonOptions, command, integer } from "../command.js";
import { openEvaluated } from "../evaluation.js";
import { readSequences } from "../inputs.js";
import { createRun } from "../run.js";

interface EvalOptions extends CommonOptions {
  readonly perplexity?: string;
  readonly questions?: string;
  readonly window?: number;
  readonly stride?: number;
  readonly maxTokens?: number;
  readonly beginToken: "auto" | "always" | "never";
}

export function evalCommand(signal: AbortSignal): Command {
  return command(
    "eval",
    "Perplexity on a text and accuracy on questions.",
    "layerfold eval models/foldling/checkpoint --perplexity models/foldling/data/validation.jsonl --questions models/foldling/data/questions-test.jsonl",
  )
    .argument("<model>", "checkpoint folder")
    .option("--perplexity <file>", ".txt (one stream) or .jsonl (one document a line)")
    .option("--questions <file>", ".jsonl with question, choices, answer")
    .option(
      "--window <tokens>",
      "tokens that the model sees at once (default: 512, or the model's context)",
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
    .action(async (modelPath: string, options: EvalOptions) => {
      const run = createRun(options, signal);
      run.settings.assertUsed();
      if (!options.perplexity && !options.questions) {
        throw new LayerfoldError("NOTHING_TO_EVALUATE", "nothing to evaluate", {
          wanted: "--perplexity FILE, --questions FILE or both",
        });
      }
      const { checkpoint, model, running, close } = await openEvaluated(
        await run.modelFolder(modelPath),
        run,
      );
      try {
        const tokenizer = await openTokenizer(checkpoint.directory);
        // Bad input is found before the first long computation.
        const text =
          options.perplexity &&
          (await readSequences(
            options.perplexity,
            checkpoint.architecture.maxPositionEmbeddings,
            tokenizer,
            options,
            run,
          ));
        const questions = options.questions && (await readQuestions(options.questions));
        const onText = text && (await perplexity(model, text.sequences, {}, run.ctx));
        const onQuestions = questions && (await multipleChoice(model, tokenizer, questions, {}, run.ctx));
        const facts = {
          ...(text &&
            onText && {
              ...onText,
              begin_token_given: text.beginTokenGiven,
              window: text.window,
            }),
          ...onQuestions,
          ...(running && { quantized: running }),
        };
        const lines = [
          text &&
            onText &&
            `perplexity ${onText.perplexity.toFixed(4)} over ${onText.tokens} tokens (begin token ${text.beginTokenGiven ? "given" : "not given"})`,
          running && runningText(running),
          onQuestions &&
            `accuracy ${(onQuestions.accuracy * 100).toFixed(1)} ± ${(onQuestions.stderr * 100).toFixed(1)} % (${onQuestions.correct} of ${onQuestions.count})`,
        ];
        run.terminal.result(facts, lines.filter(Boolean).join("\n"));
      } finally {
        await close();
      }
    });
}

/** How much of the figure is the kernel's own arithmetic. */
function runningText({ packed, simulated, simulated_activations: activations }: RunningSummary): string {
  const parts = [`${packed} weights multiplied in their packed form`];
  if (simulated > 0) parts.push(`${simulated} simulated by their dequantised values`);
  if (activations) parts.push(`${activations} activations simulated in float32`);
  return `quantised: ${parts.join(", ")}`;
}
