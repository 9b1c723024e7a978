import { rm } from "node:fs/promises";
import { join } from "node:path";
import {
  batchBySize,
  type Checkpoint,
  type Documents,
  openCheckpoint,
  openTokenizer,
  type Question,
  readDocuments,
  readQuestions,
  type Tokenizer,
  type TokenSequence,
  type TokenSequences,
  tokenWindows,
} from "@layerfold/checkpoint";
import type { Architecture, EvaluationTask, TokenBatch } from "@layerfold/core";
import { scratchFolder } from "@layerfold/disk";
import { type Benchmark, isTaskPath, readBenchmark } from "@layerfold/evaluate";
import { dequantizeCheckpoint, isQuantized } from "@layerfold/quantize";
import { isModulePath } from "../module-path.js";
import { makePlugin } from "../registry.js";
import { modelFolder, type Run } from "../run.js";
import { fileSource, rowsOf, type TextSource } from "./text-source.js";
import { windowFor } from "./window.js";

/** How a text is cut into token sequences. */
export interface WindowOptions {
  /** Default 512, or the model's context where that is shorter. */
  readonly window?: number | undefined;
  readonly stride?: number | undefined;
  readonly maxTokens?: number | undefined;
  readonly beginToken?: "auto" | "always" | "never" | undefined;
}

/** How a MODEL argument is opened. */
export interface OpenModelOptions {
  /** A quantised checkpoint as it lies; else a dense copy of it, in the type of its norms, that is removed when closed. */
  readonly packed?: boolean | undefined;
}

/** Opens a MODEL argument, a folder or `hf:org/name`. */
export async function openModelCheckpoint(
  path: string,
  run: Run,
  { packed = false }: OpenModelOptions = {},
): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(await modelFolder(path, run), { report: run.ctx.report });
  return packed || !isQuantized(checkpoint) ? checkpoint : denseCopy(checkpoint, run);
}

async function denseCopy(quantized: Checkpoint, run: Run): Promise<Checkpoint> {
  const scratch = await scratchFolder("dense");
  try {
    run.ctx.report?.({
      type: "status",
      message: `${quantized.directory} is quantised: a dense copy in ${quantized.dtype} is used`,
    });
    const { directory } = await dequantizeCheckpoint(quantized, join(scratch, "dense"), {}, run.ctx);
    const dense = await openCheckpoint(directory);
    return {
      ...dense,
      async close() {
        await dense.close();
        await rm(scratch, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(scratch, { recursive: true, force: true });
    throw error;
  } finally {
    await quantized.close();
  }
}

/** The same with its tokenizer, for commands that look at text. */
export async function openModel(
  path: string,
  run: Run,
  options: OpenModelOptions = {},
): Promise<{ checkpoint: Checkpoint; tokenizer: Tokenizer }> {
  const checkpoint = await openModelCheckpoint(path, run, options);
  try {
    return { checkpoint, tokenizer: await openTokenizer(checkpoint.directory) };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * Reads a text, `FILE` or `FILE[from:to]`, and cuts it to token sequences no longer than the model takes.
 * @param context - most tokens that the model takes
 * @returns with the window that was used
 */
export async function readSequences(
  text: string,
  context: number,
  tokenizer: Tokenizer,
  options: WindowOptions,
  run: Run,
): Promise<TokenSequences & { documents: Documents; window: number }> {
  const window = windowFor(options.window, context);
  const { file, range } = fileSource(text);
  const documents = await readDocuments(file, run.ctx.report);
  return {
    ...tokenWindows(documents, tokenizer, { ...options, range, window }, run.ctx.report),
    documents,
    window,
  };
}

/** Reads multiple-choice questions, `FILE` or `FILE[from:to]`. */
export async function readQuestionRows(
  text: string,
  { ctx }: Pick<Run, "ctx">,
): Promise<readonly Question[]> {
  const source = fileSource(text);
  return rowsOf(await readQuestions(source.file, ctx.report), source);
}

/**
 * Reads the documents of a public benchmark, of a task file or of a task of one's own in code (`./my-task.yaml`, `./my-task.ts`, with the options that it
 * has by default), or those of a part of the file.
 * @throws TASK_UNKNOWN, PLUGIN_MODULE, TEXT_RANGE, and what `readBenchmark` throws
 */
export async function readBenchmarkRows(
  id: string,
  source: TextSource & { readonly file: string },
  { ctx }: Pick<Run, "ctx">,
): Promise<Benchmark> {
  const inCode = isModulePath(id) && !isTaskPath(id);
  const task = inCode ? await makePlugin<EvaluationTask>("task", id, {}) : id;
  const benchmark = await readBenchmark(task, source.file, ctx.report);
  return { ...benchmark, documents: rowsOf(benchmark.documents, source) };
}

/** Padded positions that go through the model at once. */
export const tokensPerBatch = 4096;

/** The same, where a block's inner activations, float32 [positions, width], are returned too: at most 64 MiB each. */
export function tokensPerTappedBatch({ blocks, hiddenSize }: Architecture): number {
  const widths = blocks.map(({ feedForward }) => feedForward.intermediateSize);
  return Math.min(tokensPerBatch, Math.ceil(2 ** 24 / Math.max(hiddenSize, ...widths)));
}

/** The sequences as batches of similar length. */
export function sequenceBatches(
  sequences: readonly TokenSequence[],
  maxTokensPerBatch = tokensPerBatch,
): TokenBatch[] {
  const ids = sequences.map((sequence) => sequence.ids);
  return batchBySize(ids, maxTokensPerBatch).map(({ batch }) => batch);
}

/** The same, one after the other; opened anew for every pass. */
export async function* eachBatch(
  sequences: readonly TokenSequence[],
  maxTokensPerBatch?: number,
): AsyncGenerator<TokenBatch> {
  yield* sequenceBatches(sequences, maxTokensPerBatch);
}
