import type { Awaitable, RunContext } from "./context.js";
import type { BlockView, Role } from "./model-runner.js";
import { definePlugin, type Plugin, type PluginDefinition, type PluginFactory, type z } from "./plugin.js";

/** Makes one block of several. */
export interface MergeStrategy extends Plugin {
  readonly kind: "strategy";
  /** Whether it merges nothing, but keeps one of the blocks as it is: then what is to be merged all the same needs another. */
  readonly drops?: boolean;
  /**
   * Whether every tensor that `merge` gives hangs on the blocks' tensors of that role alone: then blocks that hold one tensor each may be
   * handed over, and no more is in memory.
   */
  readonly tensorwise?: boolean;
  /**
   * Where every tensor that `merge` gives is Σ_j c_j·θ_j of the blocks' tensors of that role: the c, one per block. Products are summed in
   * float64 in the blocks' order, those of c = 0 left out, and rounded once to float32. A driver may then form the sums itself, piece by piece,
   * and hold no block in memory. Absent where `merge` does anything else.
   * @throws as `merge` does of weights
   */
  readonly coefficients?: ((weights: readonly number[], role: Role) => readonly number[]) | undefined;
  /**
   * @param blocks - at least two blocks of one type, in the model's order
   * @param weights - one per block, from the plan; all equal and summing to 1 where the plan has none
   */
  merge(blocks: readonly BlockView[], weights: readonly number[], ctx: RunContext): Awaitable<BlockView>;
}

/** Defines a factory of strategy plug-ins; see `definePlugin`. */
export function defineStrategy<S extends z.ZodObject>(
  definition: PluginDefinition<MergeStrategy, S>,
): PluginFactory<MergeStrategy, S> {
  return definePlugin({ kind: "strategy", ...definition });
}
