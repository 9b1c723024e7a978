import {
  batchBySize,
  type Checkpoint,
  type Documents,
  openCheckpoint,
  openTokenizer,
  readDocuments,
  type Tokenizer,
  type TokenSequences,
  tokenWindows,
} from "@layerfold/checkpoint";
import { LayerfoldError, type TokenBatch } from "@layerfold/core";
import type { Run } from "./run.js";

/** How a text is cut into token sequences. */
export interface WindowOptions {
  /** Default 512, or the model's context where that is shorter. */
  readonly window?: number;
  readonly stride?: number;
  readonly maxTokens?: number;
  readonly beginToken?: "auto" | "always" | "never";
  /** Take the windows evenly from the whole file instead of from its start. */
  readonly spread?: boolean;
}

/** Opens a MODEL argument, a folder or `hf:org/name`. */
export async function openModelCheckpoint(path: string, run: Run): Promise<Checkpoint> {
  return openCheckpoint(await run.modelFolder(path), { report: run.ctx.report });
}

/** The same with its tokenizer, for commands that look at text. */
export async function openModel(
  path: string,
  run: Run,
): Promise<{ checkpoint: Checkpoint; tokenizer: Tokenizer }> {
  const checkpoint = await openModelCheckpoint(path, run);
  try {
    return { checkpoint, tokenizer: await openTokenizer(checkpoint.directory) };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * Reads a text and cuts it to token sequences no longer than the model takes.
 * @param context - most tokens that the model takes
 * @returns with the window that was used
 */
export async function readSequences(
  file: string,
  context: number,
  tokenizer: Tokenizer,
  options: WindowOptions,
  run: Run,
): Promise<TokenSequences & { documents: Documents; window: number }> {
  const window = options.window ?? Math.min(512, context);
  if (window > context) {
    throw new LayerfoldError("WINDOW_TOO_LONG", "the window is longer than the model's context", {
      wanted: `at most ${context} tokens`,
      got: `${window}`,
      where: "--window",
    });
  }
  const documents = await readDocuments(file);
  return { ...tokenWindows(documents, tokenizer, { ...options, window }, run.ctx.report), documents, window };
}

/** Texts that both files hold, as a share of the evaluation file's; a stream counts by its lines. */
export function overlap(calibration: Documents, evaluation: Documents): number {
  const parts = (d: Documents) => (d.kind === "stream" ? d.text.split(/\n+/) : d.texts).map((t) => t.trim());
  const seen = new Set(parts(calibration).filter((t) => t.length >= 40));
  const judged = parts(evaluation).filter((t) => t.length >= 40);
  return judged.length === 0 ? 0 : judged.filter((t) => seen.has(t)).length / judged.length;
}

/** Padded positions that go through the model at once. */
export const tokensPerBatch = 4096;

/** The sequences as batches of similar length; opened anew for every pass. */
export async function* calibrationBatches(text: TokenSequences): AsyncIterable<TokenBatch> {
  for (const { batch } of batchBySize(
    text.sequences.map((s) => s.ids),
    tokensPerBatch,
  )) {
    yield batch;
  }
}
