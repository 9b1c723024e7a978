import type { TokenBatch } from "./batch.js";
import type { RunContext } from "./context.js";
import type { Matrix, Tensor } from "./tensor.js";

/** Who is told how far a pass over a text is, who may stop it, and how much memory it may use. */
export type PassContext = Pick<RunContext, "signal" | "report" | "memory">;

/**
 * What evaluation asks of a model: log-probabilities. A whole-model ONNX session and a model that runs block by block both give them.
 * Batches are asked about in lists, and answered in order, one value for each: a model that is larger than memory takes all of them
 * through a block before it reads the next.
 */
export interface LanguageModel {
  readonly vocabularySize: number;
  /**
   * [batch, sequence] float32 row-major, nats: entry (b, t) is log p(token t + 1 | tokens 0 … t) of row b; 0 at a row's last real
   * token and at padding.
   */
  tokenLogProbabilities(batches: readonly TokenBatch[], ctx?: PassContext): AsyncIterable<Float32Array>;
  /** [batch, vocabulary]: the logits at each row's last real token. */
  lastLogits(batches: readonly TokenBatch[], ctx?: PassContext): AsyncIterable<Matrix<Float32Array>>;
  /** [batch, sequence, vocabulary]; 0 at padded positions. */
  logits(batches: readonly TokenBatch[], ctx?: PassContext): AsyncIterable<Tensor<Float32Array>>;
}
