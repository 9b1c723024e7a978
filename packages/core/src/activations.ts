import type { TokenBatch } from "./batch.js";
import type { PassContext } from "./language-model.js";
import type { Matrix } from "./tensor.js";

/**
 * Sums over all real tokens of a calibration text; depth 0 is the embedding output, depth l + 1 the stream after block l.
 */
export interface TokenStatistics {
  readonly layerCount: number;
  /** Tokens seen. */
  readonly tokenCount: number;
  /** [layerCount + 1, layerCount + 1] mean cosine between the streams at two depths; diagonal 1. */
  readonly cosine: Matrix<Float64Array>;
  /** [layerCount + 1, layerCount + 1] mean arccos(cosine)/π, in [0, 1]; diagonal 0. */
  readonly angle: Matrix<Float64Array>;
  /** [layerCount + 1] mean L2 norm of the stream. */
  readonly norm: Float64Array;
}

/** Pooled residual streams: `layers[l]` is what block l left in the stream (before the final norm). */
export interface Activations {
  /** One [samples, hiddenSize] matrix per layer; the rows of all layers are the same samples. */
  readonly layers: readonly Matrix<Float32Array>[];
  readonly statistics: TokenStatistics;
}

/** One batch's residual streams: `residuals[0]` = embeddings, `residuals[l + 1]` = after block l; each [batch, sequence, hidden]. */
export interface ActivationBatch {
  readonly batch: TokenBatch;
  readonly residuals: readonly Float32Array[];
}

/** Where activations come from: a checkpoint, a user's ONNX model, or a recording. */
export interface ActivationSource {
  readonly layerCount: number;
  readonly hiddenSize: number;
  /** All rows in order, with the streams of all depths; a source that runs block by block may hand them out in other batches. */
  capture(
    batches: Iterable<TokenBatch> | AsyncIterable<TokenBatch>,
    ctx: PassContext,
  ): AsyncIterable<ActivationBatch>;
  close(): Promise<void>;
}
