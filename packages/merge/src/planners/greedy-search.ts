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
  firstLayer: z.number().int().min(0).default(1).describe("first layer that may go"),
  candidateCount: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe("most candidates tried in every round but the first; 0 = all"),
  largestGroup: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe(
      "most layers that one layer may come to stand for, itself included; 0 = any number. Small groups suit `component-fold`. Where too few layers are left for it, it grows, and that is reported",
    ),
};

export interface GreedyOptions {
  readonly firstLayer: number;
  readonly candidateCount: number;
  readonly largestGroup: number;
}

/**
 * Drops one layer after another, each time the one without which `evaluate` is least; ties go to the later layer. With `candidateCount`
 * 0 that is one evaluation per layer that is left and per layer dropped, O(layers · dropped). With a positive one only the first round
 * tries every layer; see `greedyRounds` for the others.
 */
export async function greedySearch(
  planner: string,
  evaluate: (plans: readonly MergePlan[]) => Promise<readonly number[]>,
  { firstLayer, candidateCount, largestGroup }: GreedyOptions,
  evidence: Evidence,
  targetLayerCount: number,
  ctx: RunContext,
): Promise<MergePlan> {
  checkTarget(evidence, targetLayerCount);
  const { layerCount } = evidence;
  let kept = Array.from({ length: layerCount }, (_, layer) => layer);
  const without = (layer: number) =>
    dropPlan(
      layerCount,
      kept.filter((l) => l !== layer),
    );
  let limit = largestGroup === 0 ? layerCount : largestGroup;
  const fits = (layer: number) => without(layer).groups.every((group) => group.layers.length <= limit);
  const whole = () => dropPlan(layerCount, kept);
  const leastMissed = greedyRounds(candidateCount, evaluate, { whole, without }, ctx);
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
    const gone = await leastMissed(free.filter(fits));
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
 * The rounds of a greedy search, one a call: the candidate without which the loss is least, which is then forgotten. After the first round
 * a lazy search tries those first whose absence raised the loss least when they were last tried, and is done when what it has found rises
 * no more than the next one did then: as more goes, every candidate is missed more (Minoux 1978), if not always.
 *
 * @param count - most candidates that are tried after the first round; 0 = all, always
 * @param plans - with all candidates, which only a lazy search asks for, and without one
 * @returns takes the candidates that are left, numbered from the front to the back
 */
export function greedyRounds(
  count: number,
  evaluate: (plans: readonly MergePlan[]) => Promise<readonly number[]>,
  plans: { readonly whole: () => MergePlan; readonly without: (candidate: number) => MergePlan },
  ctx: RunContext,
): (candidates: readonly number[]) => Promise<number> {
  /** How much every candidate's absence raised the loss when it was last tried. */
  const rises = new Map<number, number>();
  const last = (candidate: number) => rises.get(candidate) ?? Number.NEGATIVE_INFINITY;
  /** The loss with all candidates that are left. */
  let current: number | undefined;
  return async (candidates) => {
    const before = current ?? (count > 0 ? (await evaluate([plans.whole()]))[0] : 0);
    const lazy = count > 0 && rises.size > 0;
    // Front to back, so that an evaluator that remembers the streams of the last plan runs the fewest layers.
    const order = lazy ? [...candidates].sort((a, b) => last(a) - last(b)).slice(0, count) : candidates;
    throwIfAborted(ctx.signal);
    const all = lazy ? undefined : await evaluate(order.map(plans.without));
    let least: { candidate: number; loss: number } | undefined;
    for (const [index, candidate] of order.entries()) {
      if (lazy && least && least.loss - before <= last(candidate)) break;
      throwIfAborted(ctx.signal);
      const found = all ? all[index] : (await evaluate([plans.without(candidate)]))[0];
      const loss = Number.isNaN(found) ? Number.POSITIVE_INFINITY : found;
      rises.set(candidate, loss - before);
      const better = !least || loss < least.loss || (loss === least.loss && candidate > least.candidate);
      if (better) least = { candidate, loss };
    }
    current = least!.loss;
    rises.delete(least!.candidate);
    return least!.candidate;
  };
}
