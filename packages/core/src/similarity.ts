import type { Awaitable, RunContext } from "./context.js";
import { definePlugin, type Plugin, type PluginDefinition, type PluginFactory, type z } from "./plugin.js";
import type { Matrix } from "./tensor.js";

/** What a measure promises; `testkit` checks it. */
export interface SimilarityTraits {
  readonly symmetric: boolean;
  /** Draws from `ctx.rng`. */
  readonly stochastic: boolean;
  /** Closed bounds of the value; infinite where there are none. */
  readonly range: readonly [number, number];
  /** Transformations of either argument's features that leave the value unchanged. */
  readonly invariantTo: readonly ("translation" | "isotropic-scale" | "rotation" | "linear")[];
}

/** Compares two layers by what they do to the same samples. Higher = more alike. */
export interface SimilarityMeasure<P = unknown> extends Plugin {
  readonly kind: "similarity";
  readonly traits: SimilarityTraits;
  /** Id of the embedding that it is meant to follow; default `identity`: it takes activations as they are. */
  readonly defaultEmbedding?: string;
  /** Once per layer. @param layer - [samples, features] */
  prepare(layer: Matrix, ctx: RunContext): Awaitable<P>;
  /** Once per pair. */
  compare(a: P, b: P, ctx: RunContext): Awaitable<number>;
  /** All pairs at once, where that is faster: [layers, layers], the same values as `compare`; undefined for layers that it does not suit. */
  compareAll?(prepared: readonly P[], ctx: RunContext): Awaitable<Matrix | undefined>;
}

/** Defines a factory of similarity measures; see `definePlugin`. */
export function defineSimilarity<P, S extends z.ZodObject>(
  definition: PluginDefinition<SimilarityMeasure<P>, S>,
): PluginFactory<SimilarityMeasure<P>, S> {
  return definePlugin({ kind: "similarity", ...definition });
}
