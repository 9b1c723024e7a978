import type { Awaitable, RunContext } from "./context.js";
import { definePlugin, type Plugin, type PluginDefinition, type PluginFactory, type z } from "./plugin.js";
import type { Matrix } from "./tensor.js";

/** What an embedding found for one layer. */
export interface FittedEmbedding {
  /** [samples, dimensions], row i belongs to sample i of the points. */
  readonly coordinates: Matrix;
  /** Spectrum where the method has one, descending. */
  readonly eigenvalues?: Float64Array;
  /** Places new points [samples, features] in the same coordinates, where the method can. */
  transform?(points: Matrix, ctx: RunContext): Awaitable<Matrix>;
}

/** Turns one layer's activations into few coordinates. Never changes its input. */
export interface Embedding extends Plugin {
  readonly kind: "embedding";
  /** @param points - [samples, features], rows are samples */
  fit(points: Matrix, ctx: RunContext): Promise<FittedEmbedding>;
}

/** Defines a factory of embedding plug-ins; see `definePlugin`. */
export function defineEmbedding<S extends z.ZodObject>(
  definition: PluginDefinition<Embedding, S>,
): PluginFactory<Embedding, S> {
  return definePlugin({ kind: "embedding", ...definition });
}
