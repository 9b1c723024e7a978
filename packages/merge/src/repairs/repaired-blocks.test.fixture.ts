import {
  type BlockView,
  type MergePlan,
  type ModelRunner,
  parsePlan,
  type Repair,
  type RepairedBlock,
  type RunContext,
} from "@layerfold/core";
import { expect } from "vitest";
import { ctx, opened, tokenBatches } from "../tiny-models.test.fixture.js";

/** Four layers, the two in the middle folded into one. */
export const middlePair = parsePlan({
  version: 1,
  num_hidden_layers: 4,
  groups: [{ layers: [0] }, { layers: [1, 2] }, { layers: [3] }],
});

export const batches = tokenBatches(3, 6, 20);
const calibration = opened(batches);

/** What a repair makes of every group of a plan, by default of the first layer of each. */
export async function repairedBlocks(
  repair: Repair,
  model: ModelRunner,
  plan: MergePlan,
  folded: (group: number) => Promise<BlockView> = (group) => model.block(plan.groups[group].layers[0]),
  report?: RunContext["report"],
): Promise<RepairedBlock[]> {
  const blocks: RepairedBlock[] = [];
  for await (const block of repair.fit(model, plan, folded, calibration, { ...ctx, report }))
    blocks.push(block);
  expect(blocks.map(({ index }) => index)).toEqual(plan.groups.map((_, index) => index));
  return blocks;
}

/** Largest difference of two arrays over the largest value of the second. */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference = Math.max(difference, Math.abs(a[i] - b[i]));
    size = Math.max(size, Math.abs(b[i]));
  }
  return difference / size;
}
