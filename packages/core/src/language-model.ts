import type { TokenBatch } from "./batch.js";
import type { Matrix, Tensor } from "./tensor.js";

/** What evaluation asks of a model: log-probabilities. A whole-model ONNX session and a block-by-block runner both give them. */
export interface LanguageModel {
  readonly vocabularySize: number;
  /**
   * [batch, sequence] float32 row-major, nats: entry (b, t) is log p(token t + 1 | tokens 0 … t) of row b; 0 at a row's last real
   * token and at padding.
   */
  tokenLogProbabilities(batch: TokenBatch): Promise<Float32Array>;
  /** [batch, vocabulary]: the logits at each row's last real token. */
  lastLogits(batch: TokenBatch): Promise<Matrix<Float32Array>>;
  /** [batch, sequence, vocabulary]; 0 at padded positions. */
  logits(batch: TokenBatch): Promise<Tensor<Float32Array>>;
}
