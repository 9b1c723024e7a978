import { definePlanner, dropPlan, LayerfoldError, z } from "@layerfold/core";
import { checkTarget, requireFoldedLoss } from "../required-evidence.js";

/**
 * Folds and repairs every run of two to `largestGroup` neighbours by itself, the rest of the model staying dense, and takes the partition
 * into as many groups as layers are to stay whose losses, less the dense model's, sum least (dynamic programming over the depth). Where a
 * greedy search judges layers by what their absence costs, this judges groups by what is left missing once they are folded.
 *
 * It takes costs to add up, which they do while folds are small. Ours.
 *
 * Needs `evaluateFolded`: about layers · (largestGroup − 1) evaluations, whatever the number of layers that go; other targets cost none.
 */
export const bestPartition = definePlanner({
  id: "best-partition",
  summary: "fold every small run of layers alone, then take the partition whose losses sum least",
  optionsSchema: z.strictObject({
    largestGroup: z
      .number()
      .int()
      .min(2)
      .default(2)
      .describe(
        "most layers that one layer may come to stand for. Where too few layers are left for it, it grows, and that is reported",
      ),
    firstLayer: z.number().int().min(0).default(1).describe("first layer of the first group that may fold"),
  }),
  create: ({ largestGroup, firstLayer }) => ({
    needs: ["evaluateFolded"],
    async plan(evidence, targetLayerCount, ctx) {
      checkTarget(evidence, targetLayerCount);
      const { layerCount, compatible } = evidence;
      const evaluate = requireFoldedLoss(evidence, "best-partition");
      const foldable = layerCount - firstLayer;
      const places = targetLayerCount - firstLayer;
      if (places < 1) {
        throw new LayerfoldError("PLAN_IMPOSSIBLE", "too few layers may go", {
          wanted: `at least ${firstLayer + 1} layers left`,
          got: `${targetLayerCount}`,
          where: "planner best-partition, option firstLayer",
        });
      }
      const limit = Math.max(largestGroup, Math.ceil(foldable / places));
      if (limit > largestGroup) {
        ctx.report?.({
          type: "diagnostic",
          severity: "warning",
          code: "GROUPS_GROW",
          message: `best-partition: ${targetLayerCount} of ${layerCount} layers cannot be left in groups of ${largestGroup}, so up to ${limit} fold into one`,
        });
      }
      // Front to back, so that an evaluator that remembers the streams before the last group runs each layer once.
      const groups: number[][] = [];
      for (let first = firstLayer; first < layerCount; first++) {
        for (let size = 2; size <= limit && first + size <= layerCount; size++) {
          if (!compatible(first, first + size - 1)) break;
          groups.push(Array.from({ length: size }, (_, i) => first + i));
        }
      }
      const [dense, ...losses] = await evaluate([[], ...groups]);
      /** costs.get(first)[n]: what folding the n layers from `first` on costs; a layer alone costs nothing. */
      const costs = new Map<number, number[]>();
      for (let first = firstLayer; first < layerCount; first++)
        costs.set(first, [Number.POSITIVE_INFINITY, 0]);
      groups.forEach(([first, ...rest], i) => {
        costs.get(first)![1 + rest.length] = losses[i] - dense;
      });
      const described = describeCosts(costs);
      if (described) {
        ctx.report?.({
          type: "diagnostic",
          severity: "info",
          code: "GROUPS_JUDGED",
          message: `what a fold of these layers alone adds to the loss: ${described}`,
        });
      }
      const firsts = cheapestPartition(costs, firstLayer, layerCount, places);
      if (!firsts) {
        throw new LayerfoldError("PLAN_IMPOSSIBLE", "layers that can fold together are too few", {
          wanted: `${targetLayerCount} layers`,
          where: "planner best-partition",
        });
      }
      return dropPlan(layerCount, [...Array(firstLayer).keys(), ...firsts]);
    },
  }),
});

/** Every group that was tried, the cheapest first. */
function describeCosts(costs: ReadonlyMap<number, readonly number[]>): string {
  return Array.from(costs, ([first, row]) =>
    row
      .map((cost, size) => ({ cost, name: Array.from({ length: size }, (_, i) => first + i).join("+") }))
      .slice(2),
  )
    .flat()
    .sort((a, b) => a.cost - b.cost)
    .map(({ cost, name }) => `${name} ${cost.toFixed(4)}`)
    .join(", ");
}

/** First layers of the groups of least summed cost that split [firstLayer, layerCount) into `places`; undefined where none does. */
function cheapestPartition(
  costs: ReadonlyMap<number, readonly number[]>,
  firstLayer: number,
  layerCount: number,
  places: number,
): readonly number[] | undefined {
  type Way = { readonly cost: number; readonly firsts: readonly number[] };
  /** The cheapest way to split the layers from each index on into `place` groups. */
  let ways = new Map<number, Way>([[layerCount, { cost: 0, firsts: [] }]]);
  for (let place = 0; place < places; place++) {
    const longer = new Map<number, Way>();
    for (let first = layerCount - 1; first >= firstLayer; first--) {
      for (const [size, cost] of costs.get(first)!.entries()) {
        const rest = ways.get(first + size);
        if (!rest || cost === Number.POSITIVE_INFINITY) continue;
        const total = cost + rest.cost;
        if (total < (longer.get(first)?.cost ?? Number.POSITIVE_INFINITY)) {
          longer.set(first, { cost: total, firsts: [first, ...rest.firsts] });
        }
      }
    }
    ways = longer;
  }
  return ways.get(firstLayer)?.firsts;
}
