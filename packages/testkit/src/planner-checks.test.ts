import { definePlanner, dropPlan, LayerfoldError, type Planner, throwIfAborted, z } from "@layerfold/core";
import { expect, it } from "vitest";
import { brokenLaws } from "./broken-laws.test.fixture.js";
import { plannerChecks } from "./planner-checks.js";

type Plan = Planner["plan"];

/** Tries every layer as the first that goes, and drops as many from there on. */
const honest: Plan = async ({ layerCount, evaluate }, target, ctx) => {
  if (!evaluate) throw new LayerfoldError("EVIDENCE_MISSING", "no text");
  if (!(Number.isInteger(target) && target >= 1 && target < layerCount)) {
    throw new LayerfoldError("LAYERS_OUT_OF_RANGE", "no");
  }
  const plans = Array.from({ length: target + 1 }, (_, first) =>
    dropPlan(
      layerCount,
      Array.from({ length: layerCount }, (_, l) => l).filter(
        (l) => l < first || l >= first + layerCount - target,
      ),
    ),
  );
  const losses = await evaluate(plans);
  throwIfAborted(ctx.signal);
  return plans[losses.indexOf(Math.min(...losses))];
};

const planner = (plan: Plan, needs: Planner["needs"] = ["evaluate"]) =>
  definePlanner({
    id: "demo",
    summary: "demo",
    optionsSchema: z.strictObject({}),
    create: () => ({ needs, plan }),
  });

it("passes an honest planner", async () => {
  expect(await brokenLaws(plannerChecks(planner(honest)))).toEqual([]);
});

let calls = 0;
it.each<[string, Plan]>([
  [
    "gives a valid plan of as many layers as asked for, whatever the target",
    async (evidence, target, ctx) => ({ ...(await honest(evidence, target, ctx)), num_hidden_layers: 1 }),
  ],
  [
    "gives the same plan for the same seed, however late answers come",
    async ({ layerCount }) => dropPlan(layerCount, [calls++ % layerCount]),
  ],
  [
    "can do without evidence that it does not name",
    (evidence, target, ctx) => {
      if (!evidence.similarity) throw new LayerfoldError("PLAN_IMPOSSIBLE", "no matrix");
      return honest(evidence, target, ctx);
    },
  ],
  [
    "merges only layers that can stand for one another",
    async (evidence, target, ctx) => {
      const { groups, ...plan } = await honest(evidence, target, ctx);
      return { ...plan, groups: groups.map(({ layers }) => ({ layers })) };
    },
  ],
  [
    "refuses to leave no layer, all layers or more, or parts of one",
    (evidence, target, ctx) => honest(evidence, Math.min(Math.max(1, target), evidence.layerCount - 1), ctx),
  ],
  [
    "refuses to plan without what it needs",
    (evidence, target, ctx) =>
      honest(
        { ...evidence, evaluate: evidence.evaluate ?? (async (plans) => plans.map(() => 0)) },
        target,
        ctx,
      ),
  ],
  [
    "asks nothing any more once the work was called off",
    async (evidence, target, ctx) => {
      const { signal: _, ...deaf } = ctx;
      await honest(evidence, target, deaf);
      return honest(evidence, target, deaf);
    },
  ],
  [
    "reports progress within its total, and diagnostics by stable codes",
    (evidence, target, ctx) => {
      ctx.report?.({ type: "progress", stage: "plan", done: 2, total: 1, unit: "plans" });
      return honest(evidence, target, ctx);
    },
  ],
])("catches a planner that breaks: %s", async (law, plan) => {
  expect(await brokenLaws(plannerChecks(planner(plan)))).toContain(law);
});

it("catches a planner that changes its evidence, and one that asks for what is no plan", async () => {
  const spoiling = planner(
    (evidence, target, ctx) => {
      evidence.similarity?.data.fill(0);
      return honest(evidence, target, ctx);
    },
    ["evaluate", "similarity"],
  );
  expect(await brokenLaws(plannerChecks(spoiling))).toEqual(["leaves its evidence untouched"]);
  const asking = planner(async (evidence, target, ctx) => {
    await evidence.evaluate?.([{ version: 1, num_hidden_layers: evidence.layerCount, groups: [] }]);
    return honest(evidence, target, ctx);
  });
  expect(await brokenLaws(plannerChecks(asking))).toContain(
    "gives a valid plan of as many layers as asked for, whatever the target",
  );
});
