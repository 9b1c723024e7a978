import {
  definePlanner,
  dropPlan,
  keptLayer,
  LayerfoldError,
  type Rng,
  throwIfAborted,
  z,
} from "@layerfold/core";
import {
  checkTarget,
  judgeDescription,
  judgeNeeds,
  judgeOption,
  requireJudge,
} from "../required-evidence.js";
import { greedyPerplexity } from "./greedy-perplexity.js";

/**
 * Searches the sets of dropped layers by mutation and selection (EvoPress, arXiv 2410.14649, in its simplest form: one parent, one
 * fidelity). A child switches one or two layers of the parent between dropped and kept; the best of parent and children is the next
 * parent. Unlike a greedy search it can take a decision back.
 *
 * Needs `evaluate`: 1 + generations · children evaluations, less those met before. Repeats itself for equal `ctx.rng`.
 */
export const evolutionary = definePlanner({
  id: "evolutionary",
  summary: "search the layers to drop by mutation and selection on calibration loss (EvoPress)",
  optionsSchema: z.strictObject({
    generations: z.number().int().min(1).default(30).describe("rounds of children"),
    children: z.number().int().min(1).default(8).describe("plans tried in a generation"),
    firstLayer: z.number().int().min(0).default(1).describe("first layer that may go"),
    judge: judgeOption.default("loss").describe(judgeDescription),
    greedyStarts: z
      .array(z.number().int().min(0))
      .default([])
      .describe(
        "start from the best of the plans that `greedy-perplexity` finds with these values of its `largestGroup` (0 = any) by the loss of dropped layers; none = from a random plan",
      ),
  }),
  create: ({ generations, children, firstLayer, judge, greedyStarts }) => ({
    needs: judgeNeeds(...(greedyStarts.length > 0 ? (["loss", judge] as const) : [judge])),
    async plan(evidence, targetLayerCount, ctx) {
      checkTarget(evidence, targetLayerCount);
      const { layerCount } = evidence;
      const count = layerCount - targetLayerCount;
      const evaluate = requireJudge(evidence, judge, "evolutionary");
      if (firstLayer > targetLayerCount) {
        throw new LayerfoldError("PLAN_IMPOSSIBLE", "too few layers may go", {
          wanted: `at least ${firstLayer} layers left`,
          got: `${targetLayerCount}`,
          where: "planner evolutionary, option firstLayer",
        });
      }
      const rng = ctx.rng.fork("evolutionary planner");
      const allLayers = Array.from({ length: layerCount }, (_, layer) => layer);
      const planOf = (dropped: readonly number[]) =>
        dropPlan(
          layerCount,
          allLayers.filter((layer) => !dropped.includes(layer)),
        );
      const losses = new Map<string, number>();
      const lossesOf = async (asked: readonly (readonly number[])[]) => {
        const unknown = new Map(asked.map((dropped) => [dropped.join(), dropped]));
        for (const key of losses.keys()) unknown.delete(key);
        const found = unknown.size > 0 ? await evaluate([...unknown.values()].map(planOf)) : [];
        [...unknown.keys()].forEach((key, i) => {
          losses.set(key, found[i]);
        });
        return asked.map((dropped) => losses.get(dropped.join())!);
      };
      const starts: number[][] = [];
      for (const largestGroup of greedyStarts) {
        const { groups } = await greedyPerplexity({ firstLayer, largestGroup }).plan(
          evidence,
          targetLayerCount,
          ctx,
        );
        const kept = groups.map(keptLayer);
        starts.push(allLayers.filter((layer) => !kept.includes(layer)));
      }
      if (starts.length === 0) {
        const order = rng.permutation(layerCount - firstLayer);
        starts.push(ascending(Array.from(order.slice(0, count), (layer) => firstLayer + layer)));
      }
      let parent = starts[0];
      let best = Number.POSITIVE_INFINITY;
      const choose = async (candidates: readonly number[][]) => {
        throwIfAborted(ctx.signal);
        const found = await lossesOf(candidates);
        candidates.forEach((candidate, i) => {
          if (found[i] < best) [parent, best] = [candidate, found[i]];
        });
      };
      await choose(starts);
      for (let generation = 0; generation < generations; generation++) {
        await choose(Array.from({ length: children }, () => mutated(parent, layerCount, firstLayer, rng)));
        ctx.report?.({
          type: "progress",
          stage: "plan",
          done: generation + 1,
          total: generations,
          unit: "generations",
        });
      }
      return planOf(parent);
    },
  }),
});

function ascending(layers: number[]): number[] {
  return layers.sort((a, b) => a - b);
}

/** The set after min(u, v) switches of a dropped with a kept layer, u and v uniform in {1, 2} (EvoPress's law). */
function mutated(dropped: readonly number[], layerCount: number, firstLayer: number, rng: Rng): number[] {
  const result = [...dropped];
  const switches = Math.min(1 + rng.integer(2), 1 + rng.integer(2));
  for (let s = 0; s < switches; s++) {
    const open = Array.from({ length: layerCount - firstLayer }, (_, i) => firstLayer + i).filter(
      (layer) => !result.includes(layer),
    );
    if (open.length === 0) break;
    result[rng.integer(result.length)] = open[rng.integer(open.length)];
  }
  return ascending(result);
}
