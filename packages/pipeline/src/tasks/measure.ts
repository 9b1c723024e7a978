import type { Question, TokenSequence } from "@layerfold/checkpoint";
import type { LanguageModel } from "@layerfold/core";
import { type Benchmark, klToDense, multipleChoice, perplexity, rememberedLogits } from "@layerfold/evaluate";
import type { Execution } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { type Artefact, defineTask, jsonCodec, type TaskContext } from "@layerfold/tasks";
import { tokensOf } from "../calibration/read-calibration.js";
import { type TaskQuality, taskQuality } from "../evaluation/task-quality.js";
import { sharedAsked } from "./asked-model.js";
import { allThreads } from "./resources.js";
import { type StoredModel, sharedCheckpoint, sharedDecoder } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** How well a model predicts one text. */
export interface MeasuredText {
  readonly perplexity: number;
  /** Mean KL divergence from the dense model, nats; null where that was not asked for. */
  readonly kl_to_dense: number | null;
  /** Share of tokens for which both hold the same token most probable; null likewise. */
  readonly top1_agreement: number | null;
  readonly tokens: number;
  /** Summed negative log-likelihood of each window, nats, and the tokens that count in it. */
  readonly window_losses: readonly number[];
  readonly window_tokens: readonly number[];
}

/** How models run. */
type ExecutionParameter = { readonly execution: Execution };

/** Logits of the dense model that are kept for the next model's divergence. */
const rememberedBytes = 2 ** 29;

/** One model on one text; with `dense` also how far it is from that. */
export const measureTextTask = defineTask({
  kind: "measure-text",
  code: taskCode(import.meta.url),
  codec: jsonCodec<MeasuredText>(),
  resources: allThreads,
  async run(
    { execution }: ExecutionParameter,
    {
      model,
      dense,
      text,
    }: {
      readonly model: Artefact<StoredModel>;
      readonly dense: Artefact<StoredModel> | undefined;
      readonly text: Artefact<readonly TokenSequence[]>;
    },
    ctx,
  ) {
    const decoder = await sharedDecoder(model, execution, ctx);
    const sequences = await text.read();
    const run = { ...ctx, rng: seededRng(0) };
    const reference = dense && (await sharedReference(dense, text, execution, ctx));
    const divergence = reference && (await klToDense(reference, decoder, sequences, {}, run));
    const found = divergence ?? (await perplexity(decoder, sequences, {}, run));
    return {
      perplexity: found.perplexity,
      kl_to_dense: divergence?.klToDense ?? null,
      top1_agreement: divergence?.top1Agreement ?? null,
      tokens: found.tokens,
      window_losses: [...found.windowLosses],
      window_tokens: sequences.map(({ ids, scoredFrom }) => ids.length - scoredFrom),
    };
  },
});

/** The figures of a text's shards, by number, as the whole text's. */
export const joinedMeasureTask = defineTask({
  kind: "measure-joined",
  code: taskCode(import.meta.url),
  codec: jsonCodec<MeasuredText>(),
  async run(
    _: Record<never, never>,
    shards: Readonly<Record<string, Artefact<MeasuredText>>>,
  ): Promise<MeasuredText> {
    const inOrder = Object.entries(shards).sort(([a], [b]) => Number(a) - Number(b));
    const parts: MeasuredText[] = [];
    for (const [, shard] of inOrder) parts.push(await shard.read());
    const sum = (of: (part: MeasuredText) => number) => parts.reduce((total, part) => total + of(part), 0);
    const windowLosses = parts.flatMap((part) => part.window_losses);
    const tokens = sum((part) => part.tokens);
    /** Over tokens; null where a shard has none. */
    const meanOf = (of: (part: MeasuredText) => number | null) =>
      parts.every((part) => of(part) !== null) ? sum((part) => of(part)! * part.tokens) / tokens : null;
    return {
      perplexity: Math.exp(windowLosses.reduce((total, loss) => total + loss, 0) / tokens),
      kl_to_dense: meanOf((part) => part.kl_to_dense),
      top1_agreement: meanOf((part) => part.top1_agreement),
      tokens,
      window_losses: windowLosses,
      window_tokens: parts.flatMap((part) => part.window_tokens),
    };
  },
});

/** The dense model, which remembers its logits of one text for the next model that is measured on it. */
async function sharedReference(
  dense: Artefact<StoredModel>,
  text: Artefact<readonly TokenSequence[]>,
  execution: Execution,
  ctx: TaskContext,
): Promise<LanguageModel> {
  const { reference } = await ctx.shared(
    `logits ${execution} ${dense.digest} ${text.digest}`,
    async (shared) => {
      const { checkpoint } = await sharedCheckpoint(dense, { shared });
      const { vocabularySize } = checkpoint.architecture;
      return {
        // Logits beyond what is remembered are asked of the model itself.
        reference: rememberedLogits(
          await sharedDecoder(dense, execution, { ...ctx, shared }),
          rememberedBytes,
        ),
        bytes: Math.min(rememberedBytes, 4 * vocabularySize * tokensOf(await text.read())),
        close: async () => {},
      };
    },
  );
  return reference;
}

/** Most tokens of a question that the model is shown. */
type ContextParameter = { readonly context_length: number };

/** One model on questions that are answered by letter. */
export const measureQuestionsTask = defineTask({
  kind: "measure-questions",
  code: taskCode(import.meta.url),
  codec: jsonCodec<{ readonly accuracy: number; readonly stderr: number }>(),
  resources: allThreads,
  async run(
    { execution, context_length: contextLength }: ExecutionParameter & ContextParameter,
    {
      model,
      questions,
    }: { readonly model: Artefact<StoredModel>; readonly questions: Artefact<readonly Question[]> },
    ctx,
  ) {
    const tokenizer = await (await sharedCheckpoint(model, ctx)).tokenizer();
    const decoder = await sharedDecoder(model, execution, ctx);
    const run = { ...ctx, rng: seededRng(0) };
    const { accuracy, stderr } = await multipleChoice(
      decoder,
      tokenizer,
      await questions.read(),
      { contextLength },
      run,
    );
    return { accuracy, stderr };
  },
});

/** One model on one public benchmark. */
export const measureBenchmarkTask = defineTask({
  kind: "measure-benchmark",
  code: taskCode(import.meta.url),
  codec: jsonCodec<TaskQuality>(),
  resources: allThreads,
  async run(
    {
      execution,
      name,
      context_length: contextLength,
    }: ExecutionParameter & ContextParameter & { readonly name: string },
    { model, benchmark }: { readonly model: Artefact<StoredModel>; readonly benchmark: Artefact<Benchmark> },
    ctx,
  ) {
    const { asked, tokenizer, endTokens } = await sharedAsked(model, execution, ctx);
    const task = { name, benchmark: await benchmark.read() };
    const run = { ...ctx, rng: seededRng(0) };
    return (await taskQuality(asked, { tokenizer, contextLength }, task, run, endTokens)).quality;
  },
});
