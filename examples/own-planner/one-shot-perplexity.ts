/**
 * A planner of one's own, in one file: every layer is left out alone, and those that are missed least go.
 *
 * In code: `oneShotPerplexity({ firstLayer: 2 }).plan(evidence, 12, ctx)`. The command line takes it by path:
 * `layerfold plan MODEL --layers 12 --planner ./one-shot-perplexity.ts --calibration F --set planner.firstLayer=2 --out plan.json`.
 */
import { definePlanner, dropPlan, LayerfoldError, z } from "@layerfold/core";

const optionsSchema = z.strictObject({
  firstLayer: z.number().int().min(0).default(0).describe("first layer that may go"),
  lastLayers: z.number().int().min(0).default(0).describe("layers at the end that stay"),
});

/**
 * The layers whose absence alone raises the loss on calibration text least are dropped, all at once: the perplexity criterion of Shortened LLaMA
 * (Kim et al. 2024, arXiv 2402.02834). Unlike `greedy-perplexity` it does not ask again once a layer is gone: as many evaluations as layers.
 *
 * @throws EVIDENCE_MISSING, LAYERS_OUT_OF_RANGE, PLAN_IMPOSSIBLE where too few layers may go
 */
const oneShotPerplexity = definePlanner({
  id: "one-shot-perplexity",
  summary: "drop the layers that the calibration loss misses least, each judged alone (Shortened LLaMA)",
  optionsSchema,
  create: ({ firstLayer, lastLayers }) => ({
    // Whoever calls sees to it that `evidence.evaluate` is there.
    needs: ["evaluate"],
    async plan({ layerCount, evaluate }, targetLayerCount) {
      if (!evaluate) {
        throw new LayerfoldError(
          "EVIDENCE_MISSING",
          "one-shot-perplexity needs to try plans on a calibration text",
        );
      }
      if (!Number.isInteger(targetLayerCount) || targetLayerCount < 1 || targetLayerCount >= layerCount) {
        throw new LayerfoldError("LAYERS_OUT_OF_RANGE", "cannot leave that many layers", {
          wanted: `1 to ${layerCount - 1}`,
          got: `${targetLayerCount}`,
        });
      }
      const all = Array.from({ length: layerCount }, (_, layer) => layer);
      const candidates = all.slice(firstLayer, Math.max(firstLayer, layerCount - lastLayers));
      const count = layerCount - targetLayerCount;
      if (candidates.length < count) {
        throw new LayerfoldError("PLAN_IMPOSSIBLE", "too few layers may go", {
          wanted: `at least ${count}`,
          got: `${candidates.length}`,
          where: "planner one-shot-perplexity, options firstLayer and lastLayers",
        });
      }
      // All questions in one list: whoever answers may do so side by side.
      const without = (gone: readonly number[]) =>
        dropPlan(
          layerCount,
          all.filter((layer) => !gone.includes(layer)),
        );
      const losses = await evaluate(candidates.map((layer) => without([layer])));
      const order = candidates.map((layer, i) => ({ layer, loss: losses[i] }));
      order.sort((a, b) => a.loss - b.loss || a.layer - b.layer);
      return without(order.slice(0, count).map(({ layer }) => layer));
    },
  }),
});

export default oneShotPerplexity;
