import type { BlockSpec } from "./architecture.js";
import type { TokenBatch } from "./batch.js";
import type { RunContext } from "./context.js";
import type { BlockView, ModelRunner, Role } from "./model-runner.js";
import type { MergePlan } from "./plan.js";
import { definePlugin, type Plugin, type PluginDefinition, type PluginFactory, type z } from "./plugin.js";

/** One output block of a plan, as a repair leaves it. */
export interface RepairedBlock {
  /** Index in the folded model (= index of the plan's group). */
  readonly index: number;
  readonly block: BlockView;
  /** Mean squared error of the stream after the block against the dense model's, before and after the repair. */
  readonly error?: { readonly before: number; readonly after: number };
}

/** A dense layer as a repair can judge it before anything runs. */
export interface LayerFacts {
  readonly layer: number;
  readonly spec: BlockSpec;
  /** Roles of the norms' biases that are not all 0. */
  readonly normBiases: ReadonlySet<Role>;
}

/**
 * Corrects folded blocks in closed form from calibration tokens, front to back. A correction lives in weights that already exist.
 * It may also fill a group's block anew, standing for strategy and repair at once.
 */
export interface Repair extends Plugin {
  readonly kind: "repair";
  /** Whether it fills a group's block from all its layers, and so merges by itself, whatever the strategy made. */
  readonly merges?: boolean;
  /** Of one that merges: the repair that stands for it where nothing is to be merged. */
  withoutMerging?(): Repair;
  /**
   * Options in the stead of some of its own with which it can repair models that it would refuse else, each set for itself, e.g. `{ heads: "none" }`:
   * errors name those that would do.
   */
  readonly alternatives?: readonly Readonly<Record<string, unknown>>[];
  /**
   * Why a group of these consecutive dense layers cannot be repaired; undefined where it can. Absent: any group can.
   * What `fit` would find out after long computations is known from this at once.
   */
  refuses?(layers: readonly LayerFacts[]): string | undefined;
  /**
   * @param model - the dense model
   * @param plan - or consecutive groups of one, where `model.embed` gives the stream before the first of them
   * @param folded - the block that the strategy made for each group
   * @param calibration - opened once for every pass that the repair makes
   * @param finished - a group's block as an earlier call with the same arguments gave it, before it was broken off: it need not be fitted
   * anew, but is given again
   */
  fit(
    model: ModelRunner,
    plan: MergePlan,
    folded: (group: number) => Promise<BlockView>,
    calibration: () => AsyncIterable<TokenBatch>,
    ctx: RunContext,
    finished?: (group: number) => Promise<BlockView | undefined>,
  ): AsyncIterable<RepairedBlock>;
}

/** Defines a factory of repair plug-ins; see `definePlugin`. */
export function defineRepair<S extends z.ZodObject>(
  definition: PluginDefinition<Repair, S>,
): PluginFactory<Repair, S> {
  return definePlugin({ kind: "repair", ...definition });
}
