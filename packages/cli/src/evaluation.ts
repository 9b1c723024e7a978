import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Checkpoint, Question, Tokenizer, TokenSequences } from "@layerfold/checkpoint";
import { openCheckpoint } from "@layerfold/checkpoint";
import type { LanguageModel } from "@layerfold/core";
import { klToDense, multipleChoice, perplexity } from "@layerfold/evaluate";
import { openDecoder } from "@layerfold/graph";
import { dequantizeCheckpoint, isQuantized } from "@layerfold/quantize";
import type { Run } from "./run.js";

/** What quality is judged on; what is absent is not measured. */
export interface Judgement {
  readonly sequences?: TokenSequences;
  readonly questions?: readonly Question[];
  readonly tokenizer: Tokenizer;
}

export interface Quality {
  readonly perplexity: number | null;
  readonly kl_to_dense: number | null;
  readonly accuracy: number | null;
  readonly accuracy_stderr: number | null;
}

/** Measures a checkpoint as it lies on disk. @param dense - to measure the divergence from; absent for the dense model itself */
export async function measureQuality(
  directory: string,
  judgement: Judgement,
  dense: LanguageModel | undefined,
  run: Run,
): Promise<Quality> {
  const { model, close } = await openEvaluated(directory, run);
  try {
    const { sequences, questions, tokenizer } = judgement;
    const divergence =
      sequences && dense && (await klToDense(dense, model, sequences.sequences, {}, run.ctx));
    const text = divergence ?? (sequences && (await perplexity(model, sequences.sequences, {}, run.ctx)));
    const answers = questions && (await multipleChoice(model, tokenizer, questions, {}, run.ctx));
    return {
      perplexity: text?.perplexity ?? null,
      kl_to_dense: divergence?.klToDense ?? null,
      accuracy: answers?.accuracy ?? null,
      accuracy_stderr: answers?.stderr ?? null,
    };
  } finally {
    await close();
  }
}

/**
 * Opens a checkpoint to measure it. A quantised one is measured on its dequantised weights, written out in float32, which are exactly what
 * its kernels multiply with; that activations are rounded too (W8A8) is not simulated, and said.
 */
export async function openEvaluated(
  directory: string,
  run: Run,
): Promise<{ checkpoint: Checkpoint; model: LanguageModel; close(): Promise<void> }> {
  const stored = await openCheckpoint(directory, { report: run.ctx.report });
  if (!isQuantized(stored)) {
    const model = await openDecoder(stored);
    return {
      checkpoint: stored,
      model,
      async close() {
        await model.close();
        await stored.close();
      },
    };
  }
  const scratch = await mkdtemp(join(tmpdir(), "layerfold-dense-"));
  try {
    const quiet = { signal: run.ctx.signal };
    await dequantizeCheckpoint(stored, join(scratch, "model"), { dtype: "float32" }, quiet);
    if (roundsActivations(stored)) {
      run.ctx.report?.({
        type: "diagnostic",
        severity: "warning",
        code: "ACTIVATIONS_NOT_QUANTIZED",
        message: "measured with quantised weights and full-precision activations",
      });
    }
    const dense = await openCheckpoint(join(scratch, "model"));
    const model = await openDecoder(dense);
    return {
      checkpoint: stored,
      model,
      async close() {
        await model.close();
        await dense.close();
        await stored.close();
        await rm(scratch, { recursive: true });
      },
    };
  } catch (error) {
    await stored.close();
    await rm(scratch, { recursive: true, force: true });
    throw error;
  }
}

function roundsActivations({ config }: Checkpoint): boolean {
  return JSON.stringify(config.quantization_config ?? {}).includes('"input_activations":{');
}
