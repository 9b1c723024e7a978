import type { TokenStatistics } from "./activations.js";
import type { Awaitable, RunContext } from "./context.js";
import type { MergePlan } from "./plan.js";
import { definePlugin, type Plugin, type PluginDefinition, type PluginFactory, type z } from "./plugin.js";
import type { Matrix } from "./tensor.js";

/** What a planner may look at; it says which of these it needs. */
export interface Evidence {
  readonly layerCount: number;
  /** [layers, layers], higher = more alike. */
  readonly similarity?: Matrix;
  readonly tokenStatistics?: TokenStatistics;
  /** Whether two layers' blocks can stand for one another (type and shapes agree). */
  compatible(a: number, b: number): boolean;
  /** Loss on calibration text, nats per token, of the model that a plan gives. */
  evaluate?(plan: MergePlan): Promise<number>;
  /** Mean KL divergence of that model's next tokens from the dense model's on calibration text, nats. */
  evaluateDivergence?(plan: MergePlan): Promise<number>;
  /** The loss after the plan was folded and repaired, on calibration text that the repair was not fitted to. Costs a whole fold. */
  evaluateRepaired?(plan: MergePlan): Promise<number>;
  /**
   * The loss of the dense model in which these neighbouring layers alone were folded into one and repaired, on calibration text that the
   * repair was not fitted to; no layers = the dense model's. Cheapest when asked from the front to the back.
   */
  evaluateFolded?(layers: readonly number[]): Promise<number>;
  /**
   * Mean cosine, over calibration tokens, between the stream that leaves the last layer of the merged model (no repair) and of the dense
   * one; −1 where the merged model's is no number.
   */
  compareOutputs?(plan: MergePlan): Promise<number>;
  /** The similarity matrix among the layers that a plan leaves, measured on the merged model: [groups, groups]. */
  remeasure?(plan: MergePlan): Promise<Matrix>;
}

/** Decides which layers fold together. */
export interface Planner extends Plugin {
  readonly kind: "planner";
  readonly needs: readonly (
    | "similarity"
    | "tokenStatistics"
    | "evaluate"
    | "evaluateDivergence"
    | "evaluateRepaired"
    | "evaluateFolded"
    | "compareOutputs"
  )[];
  /** @param targetLayerCount - layers that remain, 1 … layerCount − 1 */
  plan(evidence: Evidence, targetLayerCount: number, ctx: RunContext): Awaitable<MergePlan>;
}

/** Defines a factory of planner plug-ins; see `definePlugin`. */
export function definePlanner<S extends z.ZodObject>(
  definition: PluginDefinition<Planner, S>,
): PluginFactory<Planner, S> {
  return definePlugin({ kind: "planner", ...definition });
}
