import {
  type BlockPart,
  definePlanner,
  LayerfoldError,
  type MergePlan,
  type PlanGroup,
  z,
} from "@layerfold/core";
import { checkTarget, judgeNeeds, judgeOption, requireJudge } from "../required-evidence.js";
import { greedyOptions, greedyRounds } from "./greedy-search.js";

const parts: readonly BlockPart[] = ["attention", "mlp"];

/**
 * Silences one half of a layer after another, its attention or its MLP, each time the one that is missed least; FinerCut (arXiv
 * 2405.18218) with perplexity or divergence as its measure. As many halves fall silent as the layers that were to go have. A layer of
 * which both did goes into a neighbour that is whole; where there is none it stays as a silent layer. So plans keep more layers than
 * asked for, and the checkpoint is larger than where whole layers go: what is silent is told apart from what is removed.
 *
 * Cost: two evaluations per layer that is left and per half silenced; see `candidateCount`.
 */
export const greedyHalves = definePlanner({
  id: "greedy-halves",
  summary: "silence the attention or the MLP that is missed least, again and again (FinerCut)",
  optionsSchema: z.strictObject({
    firstLayer: greedyOptions.firstLayer,
    candidateCount: greedyOptions.candidateCount,
    judge: judgeOption
      .exclude(["repaired-loss"])
      .default("divergence")
      .describe("what plans are tried by: calibration loss, or divergence from the dense model"),
  }),
  create: ({ firstLayer, candidateCount, judge }) => ({
    needs: judgeNeeds(judge),
    async plan(evidence, targetLayerCount, ctx) {
      checkTarget(evidence, targetLayerCount);
      const evaluate = requireJudge(evidence, judge, "greedy-halves");
      const { layerCount } = evidence;
      const count = 2 * (layerCount - targetLayerCount);
      /** Half h of the model is attention (even) or MLP (odd) of layer h / 2. */
      const speaking = new Set(Array.from({ length: 2 * layerCount }, (_, half) => half));
      const free = () => [...speaking].filter((half) => half >= 2 * firstLayer);
      if (free().length < count) {
        throw new LayerfoldError("PLAN_IMPOSSIBLE", "too few halves may fall silent", {
          wanted: `${count} halves`,
          got: `${free().length}`,
          where: "planner greedy-halves, option firstLayer",
        });
      }
      const without = (half: number) => planOf(layerCount, new Set([...speaking].filter((h) => h !== half)));
      const whole = () => planOf(layerCount, speaking);
      const leastMissed = greedyRounds(candidateCount, evaluate, { whole, without }, ctx);
      for (let done = 1; done <= count; done++) {
        speaking.delete(await leastMissed(free()));
        ctx.report?.({ type: "progress", stage: "plan", done, total: count, unit: "halves" });
      }
      return planOf(layerCount, speaking);
    },
  }),
});

function planOf(layerCount: number, speaking: ReadonlySet<number>): MergePlan {
  const silent = (layer: number) => parts.filter((_, part) => !speaking.has(2 * layer + part));
  const gone = (layer: number) => silent(layer).length === parts.length;
  /** The nearest layer that is not gone in a direction, if it is whole. */
  const whole = (from: number, step: number) => {
    let at = from;
    while (at >= 0 && at < layerCount && gone(at)) at += step;
    return at >= 0 && at < layerCount && silent(at).length === 0 ? at : undefined;
  };
  const groups: PlanGroup[] = [];
  let last: { home: number; layers: number[] } | undefined;
  for (let layer = 0; layer <= layerCount; layer++) {
    const home = layer < layerCount && gone(layer) ? (whole(layer, -1) ?? whole(layer, 1) ?? layer) : layer;
    if (last && last.home === home) {
      last.layers.push(layer);
      continue;
    }
    if (last) groups.push(groupOf(last));
    last = { home, layers: [layer] };
  }
  return { version: 1, num_hidden_layers: layerCount, groups };

  function groupOf({ home, layers }: { home: number; layers: readonly number[] }): PlanGroup {
    if (layers.length > 1) return { layers, weights: layers.map((layer) => Number(layer === home)) };
    const without = silent(home);
    return without.length > 0 ? { layers, without } : { layers };
  }
}
