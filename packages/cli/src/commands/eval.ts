import { openTokenizer } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { benchmarkIds, multipleChoice, perplexity } from "@layerfold/evaluate";
import type { RunningSummary } from "@layerfold/quantize";
import { type Command, Option } from "commander";
import { type CommonOptions, command, integer, several } from "../command.js";
import { openEvaluated, taskQuality } from "../evaluation.js";
import { type JudgementRequest, readJudgement } from "../judgement.js";
import { createRun } from "../run.js";
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
  return command(
    "eval",
    "Perplexity on texts, accuracy on questions and on public benchmarks.",
    "layerfold eval models/foldling/checkpoint --perplexity models/foldling/data/validation.jsonl --questions models/foldling/data/questions-test.jsonl",
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
    .action(async (modelPath: string, options: EvalOptions) => {
      const run = createRun(options, signal);
      run.settings.assertUsed();
      const request: JudgementRequest = {
        ...options,
        texts: [...(options.perplexity ?? []), ...(options.text ?? [])],
        tasks: options.task,
      };
      if (!request.texts?.length && !options.questions && !options.task) {
        throw new LayerfoldError("NOTHING_TO_EVALUATE", "nothing to evaluate", {
          wanted: "--perplexity FILE, --questions FILE, --task NAME:FILE or several of them",
        });
      }
      const { checkpoint, model, running, close } = await openEvaluated(
        await run.modelFolder(modelPath),
        run,
      );
      try {
        const tokenizer = await openTokenizer(checkpoint.directory);
        const context = checkpoint.architecture.maxPositionEmbeddings;
        const judgement = await readJudgement(request, context, tokenizer, run);
        const texts = [];
        for (const { name, sequences, beginTokenGiven, window } of judgement.texts) {
          const { windowLosses: _, ...found } = await perplexity(model, sequences, {}, run.ctx);
          texts.push({ text: name, ...found, begin_token_given: beginTokenGiven, window });
        }
        const { questions, contextLength } = judgement;
        const onQuestions =
          questions && (await multipleChoice(model, tokenizer, questions, { contextLength }, run.ctx));
        const tasks = [];
        for (const task of judgement.tasks) {
          const { quality, chosen } = await taskQuality(model, judgement, task, run.ctx);
          tasks.push({ ...quality, ...(chosen && { chosen }) });
        }
        const { text: _, ...first } = texts[0] ?? {};
        const facts = {
          ...first,
          ...onQuestions,
          ...(texts.length > 1 && { texts }),
          ...(tasks.length > 0 && { tasks }),
          ...(running && { quantized: running }),
        };
        const lines = [
          texts.length > 1 || tasks.length > 0
            ? evaluationTable(texts, tasks)
            : texts.map(
                ({ perplexity, tokens, begin_token_given: given }) =>
                  `perplexity ${perplexity.toFixed(4)} over ${tokens} tokens (begin token ${given ? "given" : "not given"})`,
              )[0],
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
