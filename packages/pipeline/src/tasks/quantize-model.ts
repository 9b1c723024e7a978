import type { Checkpoint, TokenSequence } from "@layerfold/checkpoint";
import type { RunContext } from "@layerfold/core";
import { addMadeFile } from "@layerfold/disk";
import { openRunner } from "@layerfold/graph";
import type { DeviceOptions } from "@layerfold/onnx";
import {
  checkQuantizable,
  logCsv,
  type ModuleOverride,
  type QuantizationScheme,
  type QuantizedCheckpoint,
  type QuantizeOptions,
  quantizeCheckpoint,
  rtn,
} from "@layerfold/quantize";
import { eachBatch, tokensPerTappedBatch } from "../inputs/open-model.js";

/** What becomes of a checkpoint's weights. */
export interface Quantization {
  readonly scheme: QuantizationScheme;
  /** Rounds the embedding, and a head of its own, to so many bits. */
  readonly embeddingBits?: 4 | 8 | undefined;
  /** Text that the method looks at. */
  readonly sequences?: readonly TokenSequence[] | undefined;
  readonly overrides?: readonly ModuleOverride[] | undefined;
  readonly activationScales?: ReadonlyMap<string, Float64Array> | undefined;
  readonly reuse?: QuantizeOptions["reuse"] | undefined;
  /** Folder to write; the log of every module's loss goes to quantization-log.csv in it. */
  readonly out: string;
  /** See `QuantizeCheckpointOptions`. */
  readonly unfinished?: string | undefined;
  /** Where the model runs. */
  readonly place?: DeviceOptions | undefined;
}

/** `quantizeCheckpoint`, with the model open for as long as a calibration text runs through it. */
export async function quantizeModel(
  checkpoint: Checkpoint,
  { scheme, embeddingBits, sequences, overrides = [], out, place, ...options }: Quantization,
  ctx: RunContext,
): Promise<QuantizedCheckpoint> {
  checkQuantizable(checkpoint, { scheme, overrides, calibrated: sequences !== undefined });
  const runner = sequences && (await openRunner(checkpoint, place));
  try {
    const result = await quantizeCheckpoint(
      checkpoint,
      runner,
      out,
      {
        ...options,
        scheme,
        overrides,
        ...(embeddingBits && { embedding: embeddingQuantizer(scheme, embeddingBits) }),
        calibration: sequences && (() => eachBatch(sequences, tokensPerTappedBatch(checkpoint.architecture))),
      },
      ctx,
    );
    await addMadeFile(out, "quantization-log.csv", logCsv(result.log));
    return result;
  } finally {
    await runner?.close();
  }
}

/** An embedding is looked up, not calibrated: rounding to nearest, on the blocks' groups. */
function embeddingQuantizer({ quantizer: { groupSize = -1, options } }: QuantizationScheme, bits: 4 | 8) {
  const { scaleDtype } = options as { scaleDtype?: "float16" };
  return rtn({ bits, groupSize, scaleDtype: scaleDtype ?? "float32" });
}
