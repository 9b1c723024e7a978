import {
  dropPlan,
  type Evidence,
  LayerfoldError,
  type MergePlan,
  type RunContext,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { checkTarget } from "../required-evidence.js";

export const greedyOptions = {
  /** First layer that may go. */
  firstLayer: z.number().int().min(0).default(1),
  /** Candidates tried in every round but the first; 0 = all. */
  candidateCount: z.number().int().min(0).default(0),
  /**
   * Most layers that one layer may come to stand for, itself included; 0 = any number. Small groups suit `component-fold`. Where too
   * few layers are left for it, it grows, and that is reported.
   */
  largestGroup: z.number().int().min(0).default(0),
};

export interface GreedyOptions {
  readonly firstLayer: number;
  readonly candidateCount: number;
  readonly largestGroup: number;
}

/**
 * Drops one layer after another, each time the one without which `evaluate` is least; ties go to the later layer. With `candidateCount`
 * 0 that is one evaluation per layer that is left and per layer dropped, O(layers · dropped). With a positive one only the first round
 * tries every layer; later ones try the candidates that did best when they were last tried.
 */
export async function greedySearch(
  planner: string,
  evaluate: (plan: MergePlan) => Promise<number>,
  { firstLayer, candidateCount, largestGroup }: GreedyOptions,
  evidence: Evidence,
  targetLayerCount: number,
  ctx: RunContext,
): Promise<MergePlan> {
  checkTarget(evidence, targetLayerCount);
  const { layerCount } = evidence;
  let kept = Array.from({ length: layerCount }, (_, layer) => layer);
  const lastLoss = new Map<number, number>();
  const without = (layer: number) =>
    dropPlan(
      layerCount,
      kept.filter((l) => l !== layer),
    );
  let limit = largestGroup === 0 ? layerCount : largestGroup;
  const fits = (layer: number) => without(layer).groups.every((group) => group.layers.length <= limit);
  while (kept.length > targetLayerCount) {
    const free = kept.filter((layer) => layer >= firstLayer);
    if (free.length === 0) {
      throw new LayerfoldError("PLAN_IMPOSSIBLE", "no further layer may go", {
        wanted: `${targetLayerCount} layers`,
        got: `${kept.length}`,
        where: `planner ${planner}, option firstLayer`,
      });
    }
    while (!free.some(fits)) {
      limit++;
      ctx.report?.({
        type: "diagnostic",
        severity: "warning",
        code: "GROUPS_GROW",
        message: `${planner}: ${kept.length - 1} of ${layerCount} layers cannot be left in groups of ${limit - 1}, so up to ${limit} fold into one`,
      });
    }
    const lossWithout = (layer: number) => evaluate(without(layer));
    const gone = await leastMissed(free.filter(fits), lastLoss, candidateCount, lossWithout, ctx);
    kept = kept.filter((layer) => layer !== gone);
    ctx.report?.({
      type: "progress",
      stage: "plan",
      done: layerCount - kept.length,
      total: layerCount - targetLayerCount,
      unit: "layers",
    });
  }
  return dropPlan(layerCount, kept);
}

/**
 * One round of a greedy search: the candidate without which the loss is least, which is then forgotten.
 * @param candidates - numbered from the front to the back
 * @param lastLoss - what every candidate's loss was when it was last tried; empty before the first round
 * @param count - how many of the most promising are tried after the first round; 0 = all
 */
export async function leastMissed(
  candidates: readonly number[],
  lastLoss: Map<number, number>,
  count: number,
  lossWithout: (candidate: number) => Promise<number>,
  ctx: RunContext,
): Promise<number> {
  const promising = [...candidates].sort((a, b) => (lastLoss.get(a) ?? 0) - (lastLoss.get(b) ?? 0));
  const tried = count === 0 || lastLoss.size === 0 ? [...candidates] : promising.slice(0, count);
  // Front to back, so that an evaluator that remembers the streams of the last plan runs the fewest layers.
  for (const candidate of tried.sort((a, b) => a - b)) {
    throwIfAborted(ctx.signal);
    lastLoss.set(candidate, await lossWithout(candidate));
  }
  const least = tried.reduce((best, candidate) =>
    lastLoss.get(candidate)! <= lastLoss.get(best)! ? candidate : best,
  );
  lastLoss.delete(least);
  return least;
}
