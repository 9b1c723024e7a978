import { dropPlan, keptLayer, type MergePlan } from "@layerfold/core";
import { plannerChecks, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import oneShotPerplexity from "./one-shot-perplexity.js";

// The laws that every planner obeys.
describe("one-shot-perplexity keeps the contract", () => {
  for (const { name, run } of plannerChecks(() => oneShotPerplexity())) it(name, run);
});

/** A model of five layers, each of which is missed by so much where it alone is gone. */
function evidence(missed: readonly number[]) {
  const asked: (readonly MergePlan[])[] = [];
  return {
    asked,
    layerCount: missed.length,
    compatible: () => true,
    evaluate: async (plans: readonly MergePlan[]) => {
      asked.push(plans);
      return plans.map(({ groups }) => {
        const kept = groups.map(keptLayer);
        return missed.reduce((loss, cost, layer) => (kept.includes(layer) ? loss : loss + cost), 2);
      });
    },
  };
}

it("drops the layers that are missed least, asked about in one list", async () => {
  const model = evidence([3, 1, 4, 0.5, 2]);
  expect(await oneShotPerplexity().plan(model, 3, testContext(1))).toEqual(dropPlan(5, [0, 2, 4]));
  expect(model.asked.map((plans) => plans.length)).toEqual([5]);
});

it("keeps the layers that must stay, and says when too few may go", async () => {
  const planner = oneShotPerplexity({ firstLayer: 2, lastLayers: 1 });
  expect(await planner.plan(evidence([3, 1, 4, 0.5, 0.1]), 4, testContext(1))).toEqual(
    dropPlan(5, [0, 1, 2, 4]),
  );
  await expect(async () =>
    planner.plan(evidence([3, 1, 4, 0.5, 0.1]), 2, testContext(1)),
  ).rejects.toMatchObject({
    code: "PLAN_IMPOSSIBLE",
    wanted: "at least 3",
    got: "2",
  });
});
