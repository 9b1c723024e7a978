import {
  definePlanner,
  LayerfoldError,
  type MergePlan,
  type RunContext,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { checkTarget, requireOutputCosine } from "../required-evidence.js";

/**
 * LaCo's walk (arXiv 2402.11187, algorithm 1): from the tail to the front a layer takes up the layers behind it, and keeps them where the
 * merged model's last stream still looks like the dense one's: mean cosine above a threshold. Where the paper tunes the threshold for
 * each model, here it falls from 1 by `thresholdStep` until enough layers go, and the last merge takes no more than are still to go.
 * A group that is taken up by an earlier layer is merged from its dense layers anew, which the paper does not say.
 *
 * Needs `compareOutputs`: at most layers · 2 / thresholdStep evaluations, those of plans tried before being remembered by their maker.
 */
export const thresholdWalk = definePlanner({
  id: "threshold-walk",
  summary: "from the tail on, merge while the model's output keeps its direction (LaCo)",
  optionsSchema: z.strictObject({
    mergedLayers: z
      .number()
      .int()
      .min(2)
      .default(4)
      .describe("layers of one merge, the one that stays included (the paper's C)"),
    interval: z
      .number()
      .int()
      .min(1)
      .default(2)
      .describe("layers between an accepted merge and the next one tried (the paper's I)"),
    firstLayer: z
      .number()
      .int()
      .min(0)
      .default(1)
      .describe("first layer that may take up others (the paper's L)"),
    thresholdStep: z
      .number()
      .positive()
      .max(1)
      .default(0.05)
      .describe("how much the cosine that a merge must reach falls, from 1, as long as too few layers go"),
  }),
  create: (options) => ({
    needs: ["compareOutputs"],
    async plan(evidence, targetLayerCount, ctx) {
      checkTarget(evidence, targetLayerCount);
      const { layerCount, compatible } = evidence;
      const compare = requireOutputCosine(evidence, "threshold-walk");
      const steps = Math.ceil(2 / options.thresholdStep);
      let fewest = layerCount;
      for (let step = 1; step <= steps; step++) {
        const threshold = 1 - step * options.thresholdStep;
        const accepts = async (groups: Groups) => {
          const fits = groups.every((group) => compatible(group[0], group[group.length - 1]));
          return fits && (await compare([planOf(layerCount, groups)]))[0] > threshold;
        };
        const groups = await walk(layerCount, targetLayerCount, options, accepts, ctx);
        fewest = Math.min(fewest, groups.length);
        if (groups.length > targetLayerCount) continue;
        ctx.report?.({
          type: "diagnostic",
          severity: "info",
          code: "THRESHOLD_FOUND",
          message: `threshold-walk: merges whose output keeps a cosine above ${threshold.toFixed(3)}`,
        });
        return planOf(layerCount, groups);
      }
      throw new LayerfoldError("PLAN_IMPOSSIBLE", "the walk cannot take that many layers", {
        wanted: `${targetLayerCount} layers`,
        got: `${fewest}`,
        where: "planner threshold-walk, options mergedLayers, interval and firstLayer",
      });
    },
  }),
});

type Groups = readonly (readonly number[])[];

interface WalkOptions {
  readonly mergedLayers: number;
  readonly interval: number;
  readonly firstLayer: number;
}

async function walk(
  layerCount: number,
  target: number,
  { mergedLayers, interval, firstLayer }: WalkOptions,
  accepts: (groups: Groups) => Promise<boolean>,
  ctx: RunContext,
): Promise<Groups> {
  let groups: Groups = Array.from({ length: layerCount }, (_, layer) => [layer]);
  let at = Math.max(firstLayer, layerCount - mergedLayers);
  while (at >= firstLayer && groups.length > target) {
    throwIfAborted(ctx.signal);
    const taken = Math.min(mergedLayers - 1, groups.length - 1 - at, groups.length - target);
    const merged = [
      ...groups.slice(0, at),
      groups.slice(at, at + taken + 1).flat(),
      ...groups.slice(at + taken + 1),
    ];
    if (await accepts(merged)) {
      groups = merged;
      at = Math.min(at - interval, groups.length - mergedLayers);
    } else {
      at--;
    }
  }
  return groups;
}

function planOf(layerCount: number, groups: Groups): MergePlan {
  return { version: 1, num_hidden_layers: layerCount, groups: groups.map((layers) => ({ layers })) };
}
