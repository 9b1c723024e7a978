import type { Checkpoint } from "@layerfold/checkpoint";
import type { ActivationSource, LanguageModel } from "@layerfold/core";
import type { DeviceOptions } from "@layerfold/onnx";
import type { QuantizedWeightOptions } from "./checkpoint-weights.js";
import { openRunner } from "./open-runner.js";
import { runnerModel } from "./runner-model.js";
import { openWholeDecoder } from "./whole-decoder.js";

/** How a model runs: as one graph whose weights are all in memory, or block by block. */
export type Execution = "whole" | "blocks";

export interface DecoderOptions extends QuantizedWeightOptions, DeviceOptions {
  /** Threads inside an operator; default: the physical cores. */
  readonly threads?: number | undefined;
  /** Default "whole". `chooseExecution` finds out what fits. */
  readonly execution?: Execution | undefined;
}

/** A whole model, ready to run: it predicts tokens, and tells the residual stream behind every block. */
export interface Decoder extends LanguageModel, ActivationSource {
  /** Frees the model; the checkpoint stays open. */
  close(): Promise<void>;
}

/**
 * Opens a checkpoint to run it. Its weights stay in its own safetensors: nothing is converted or written. Arithmetic is float32; a
 * quantised checkpoint's weights, given as such, are multiplied in their few bits. Both ways of running give the same numbers to 1e-5.
 *
 * - "whole": one ONNX graph. Memory: the weights, dense ones as float32, and per token of a batch all residual streams.
 * - "blocks": see `openRunner` and `runnerModel`. Memory: two blocks as float32, and the streams of a text.
 *
 * The head is loaded when something first asks for logits.
 *
 * @throws DTYPE_UNSUPPORTED, CHECKPOINT_SCATTERED, CHECKPOINT_QUANTIZED, GRAPH_LOAD; when run BATCH_INVALID, TOKEN_OUT_OF_RANGE,
 * SEQUENCE_TOO_LONG, DISK_FULL
 *
 * @example
 * ```ts
 * const checkpoint = await openCheckpoint("models/foldling/checkpoint");
 * const decoder = await openDecoder(checkpoint);
 * for await (const logits of decoder.lastLogits([tokenBatch([[0, 827, 342]])])) {
 *   assert(logits.shape[1] === decoder.vocabularySize);
 * }
 * await decoder.close();
 * ```
 */
export async function openDecoder(checkpoint: Checkpoint, options: DecoderOptions = {}): Promise<Decoder> {
  if (options.execution !== "blocks") return openWholeDecoder(checkpoint, options);
  const runner = await openRunner(checkpoint, { ...options, cacheBytes: 0 });
  return { ...runnerModel(runner), close: () => runner.close() };
}
