import {
  type ActivationBatch,
  type ActivationSource,
  type Activations,
  LayerfoldError,
  type RunContext,
  type TokenBatch,
} from "@layerfold/core";
import type { Pooling } from "./pooling.js";
import { SampleStore } from "./sample-store.js";
import { accumulateTokenStatistics } from "./token-statistics.js";

export interface CaptureOptions {
  readonly pooling: Pooling;
  /** Keep a uniformly random choice of so many samples, drawn with `ctx.rng`; default all. */
  readonly maxSamples?: number;
  /** Real tokens that the batches hold, for progress reports. */
  readonly totalTokens?: number;
}

/**
 * Runs a text through a source once. Pooled samples of every layer are kept, everything else is let go; the token statistics are
 * over all real tokens, whatever the pooling.
 *
 * @param source - left open
 * @returns `layers[l]`: [samples, hiddenSize] float32, the stream after block l
 * @throws CALIBRATION_EMPTY, SAMPLES_EMPTY, ACTIVATION_NOT_FINITE (names layer, row and token), MAX_SAMPLES, INTERRUPTED
 */
export async function captureActivations(
  source: ActivationSource,
  batches: AsyncIterable<TokenBatch> | Iterable<TokenBatch>,
  options: CaptureOptions,
  ctx: RunContext,
): Promise<Activations> {
  const statistics = accumulateTokenStatistics(source.layerCount, source.hiddenSize);
  const samples = await sampled(source, batches, options, ctx, (captured) => statistics.add(captured, ctx));
  return { statistics: statistics.finish(ctx), layers: samples.matrices() };
}

/**
 * The samples alone: in a small model the token statistics cost a good part of its own pass.
 * @throws SAMPLES_EMPTY, MAX_SAMPLES, INTERRUPTED
 */
export async function captureSamples(
  source: ActivationSource,
  batches: AsyncIterable<TokenBatch> | Iterable<TokenBatch>,
  options: CaptureOptions,
  ctx: RunContext,
): Promise<Activations["layers"]> {
  return (await sampled(source, batches, options, ctx)).matrices();
}

/** @param look - sees every batch of streams */
async function sampled(
  source: ActivationSource,
  batches: AsyncIterable<TokenBatch> | Iterable<TokenBatch>,
  options: CaptureOptions,
  ctx: RunContext,
  look?: (captured: ActivationBatch) => void,
): Promise<SampleStore> {
  const { layerCount, hiddenSize } = source;
  const { pooling, maxSamples = Number.POSITIVE_INFINITY, totalTokens } = options;
  if (maxSamples < 1) {
    throw new LayerfoldError("MAX_SAMPLES", "cannot keep fewer than one sample", { got: `${maxSamples}` });
  }
  const samples = new SampleStore(layerCount, hiddenSize, pooling, maxSamples, ctx.rng.fork("capture"));
  let done = 0;
  for await (const captured of source.capture(batches, ctx)) {
    look?.(captured);
    samples.add(captured.batch, captured.residuals.slice(1));
    done += captured.batch.lengths.reduce((sum, n) => sum + n, 0);
    if (totalTokens)
      ctx.report?.({ type: "progress", stage: "capture", done, total: totalTokens, unit: "tokens" });
  }
  return samples;
}
