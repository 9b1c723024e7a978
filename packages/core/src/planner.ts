import type { TokenStatistics } from "./activations.js";
import type { Awaitable, RunContext } from "./context.js";
import type { MergePlan } from "./plan.js";
import { definePlugin, type Plugin, type PluginDefinition, type PluginFactory, type z } from "./plugin.js";
import type { Matrix } from "./tensor.js";

/**
 * What a planner may look at; it says which of these it needs. Whatever must be found out is asked for in lists, all that one wants to know at
 * once, and answered in the same order; several questions may be open at a time. The answer to one does not depend on what else is asked.
 */
export interface Evidence {
  readonly layerCount: number;
  /** [layers, layers], higher = more alike. */
  readonly similarity?: Matrix;
  readonly tokenStatistics?: TokenStatistics;
  /** Whether two layers' blocks can stand for one another (type and shapes agree). */
  compatible(a: number, b: number): boolean;
  /** Loss on calibration text, nats per token, of the model that each plan gives. */
  evaluate?(plans: readonly MergePlan[]): Promise<readonly number[]>;
  /** Mean KL divergence of each model's next tokens from the dense model's on calibration text, nats. */
  evaluateDivergence?(plans: readonly MergePlan[]): Promise<readonly number[]>;
  /** The loss after each plan was folded and repaired, on calibration text that the repair was not fitted to. Costs a whole fold each. */
  evaluateRepaired?(plans: readonly MergePlan[]): Promise<readonly number[]>;
  /**
   * The loss of the dense model in which these neighbouring layers alone were folded into one and repaired, on calibration text that the
   * repair was not fitted to; no layers = the dense model's. Cheapest in order from the front to the back.
   */
  evaluateFolded?(groups: readonly (readonly number[])[]): Promise<readonly number[]>;
  /**
   * Mean cosine, over calibration tokens, between the stream that leaves the last layer of the merged model (no repair) and of the dense
   * one; −1 where the merged model's is no number.
   */
  compareOutputs?(plans: readonly MergePlan[]): Promise<readonly number[]>;
  /**
   * The similarity matrix among layers that a plan leaves, measured on the merged model. What lies behind the last of them is not run, nor
   * what lies before the first difference from the plan asked about before.
   */
  remeasure?(asked: readonly RemeasuredLayers[]): Promise<readonly Matrix[]>;
}

/** Layers of a merged model that are compared with one another. */
export interface RemeasuredLayers {
  readonly plan: MergePlan;
  /** Their indices among the plan's groups, ascending: the rows of the matrix. */
  readonly groups: readonly number[];
}

/** What can be had of {@link Evidence} where somebody sees to it. */
export type EvidenceKind = Exclude<keyof Evidence, "layerCount" | "compatible">;

/** Decides which layers fold together. */
export interface Planner extends Plugin {
  readonly kind: "planner";
  readonly needs: readonly EvidenceKind[];
  /** @param targetLayerCount - layers that remain, 1 … layerCount − 1 */
  plan(evidence: Evidence, targetLayerCount: number, ctx: RunContext): Awaitable<MergePlan>;
}

/** Defines a factory of planner plug-ins; see `definePlugin`. */
export function definePlanner<S extends z.ZodObject>(
  definition: PluginDefinition<Planner, S>,
): PluginFactory<Planner, S> {
  return definePlugin({ kind: "planner", ...definition });
}
