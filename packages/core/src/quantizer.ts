import type { Awaitable, RunContext } from "./context.js";
import type { BlockView, Tap } from "./model-runner.js";
import { definePlugin, type Plugin, type PluginDefinition, type PluginFactory, type z } from "./plugin.js";
import type { Matrix } from "./tensor.js";

/** What calibration says about the input of one linear map. */
export interface CalibrationStatistics {
  /** Tokens seen. */
  readonly tokenCount: number;
  /** [in, in] float64 Σ x xᵀ over tokens. */
  readonly gram?: Matrix<Float64Array>;
  /** [in] largest |x_j|. */
  readonly absoluteMaximum?: Float64Array;
  /** [in] mean |x_j|. */
  readonly absoluteMean?: Float64Array;
  /** [in] mean x_j². */
  readonly squareMean?: Float64Array;
}

/** What of {@link CalibrationStatistics} a plug-in may say that it needs. */
export type StatisticsKind = keyof Omit<CalibrationStatistics, "tokenCount">;

/** Integer codes with the parameters that give the weights back: w = scale · (code − zeroPoint). */
export interface QuantizedTensor {
  readonly bits: number;
  /** [out, in]. */
  readonly shape: readonly [number, number];
  /** Input channels that share a scale; `in` for per-channel. */
  readonly groupSize: number;
  readonly symmetric: boolean;
  /** [out, in] unsigned codes 0 … 2^bits − 1. */
  readonly codes: Uint8Array;
  /** [out, groups]. */
  readonly scales: Float32Array;
  /** [out, groups] unsigned zero points; 2^(bits−1) throughout when symmetric. */
  readonly zeroPoints: Uint8Array;
  /** [in] group of each input channel; absent when it is floor(i / groupSize). */
  readonly groupIndex?: Int32Array;
  /** What a code stands for; absent: the integer itself. `float8_e4m3`: the bits of such a number, zero points all 0. */
  readonly encoding?: "float8_e4m3";
  /** Share of the Gram matrix's mean diagonal that was added to it, for methods that invert it. */
  readonly damping?: number;
}

/** Turns a weight into few bits. */
export interface Quantizer extends Plugin {
  readonly kind: "quantizer";
  /** Statistics without which it cannot run, the only ones it is sure to be given; absent or empty: it needs no calibration text. */
  readonly needs?: readonly StatisticsKind[];
  /**
   * Consecutive input channels that share a scale, −1: all. Where it is known, a model whose maps it does not divide is refused before anything is
   * computed.
   */
  readonly groupSize?: number;
  /** @param weight - [out, in] float32 */
  quantize(weight: Matrix, statistics: CalibrationStatistics, ctx: RunContext): Awaitable<QuantizedTensor>;
}

/** A function-preserving rescaling of several tensors of one block together (SmoothQuant, AWQ scales). */
export interface WeightTransform extends Plugin {
  readonly kind: "transform";
  /** Statistics without which it cannot run, the only ones it is sure to be given; absent or empty: it needs no calibration text. */
  readonly needs?: readonly StatisticsKind[];
  /** The values that linear maps read of which it needs them; default all. */
  readonly inputs?: readonly Tap[];
  fit(
    block: BlockView,
    statistics: ReadonlyMap<string, CalibrationStatistics>,
    ctx: RunContext,
  ): Awaitable<BlockView>;
}

/** Defines a factory of quantizer plug-ins; see `definePlugin`. */
export function defineQuantizer<S extends z.ZodObject>(
  definition: PluginDefinition<Quantizer, S>,
): PluginFactory<Quantizer, S> {
  return definePlugin({ kind: "quantizer", ...definition });
}

/** Defines a factory of transform plug-ins; see `definePlugin`. */
export function defineWeightTransform<S extends z.ZodObject>(
  definition: PluginDefinition<WeightTransform, S>,
): PluginFactory<WeightTransform, S> {
  return definePlugin({ kind: "transform", ...definition });
}
