import type { MergeStrategy } from "@layerfold/core";
import { type StrategyCheckOptions, strategyChecks } from "@layerfold/testkit";
import { describe, it } from "vitest";
import { aligned } from "./aligned.js";
import { breadcrumbs } from "./breadcrumbs.js";
import { dare } from "./dare.js";
import { differenceSum } from "./difference-sum.js";
import { drop } from "./drop.js";
import { slerp } from "./slerp.js";
import { taskArithmetic } from "./task-arithmetic.js";
import { ties } from "./ties.js";
import { weighted } from "./weighted.js";

const strategies: Record<string, [make: () => MergeStrategy, options?: StrategyCheckOptions]> = {
  aligned: [() => aligned(), { followsWeights: true }],
  breadcrumbs: [() => breadcrumbs()],
  dare: [() => dare()],
  "difference-sum": [() => differenceSum()],
  "difference-sum, telescoping": [() => differenceSum({ reading: "telescoping" })],
  drop: [() => drop(), { followsWeights: true }],
  "drop, the first": [() => drop({ keep: "first" })],
  slerp: [() => slerp(), { followsWeights: true }],
  "task-arithmetic": [() => taskArithmetic()],
  ties: [() => ties()],
  weighted: [() => weighted(), { followsWeights: true }],
  "weighted, norms folded": [() => weighted({ norms: "fold" }), { followsWeights: true }],
};

describe.each(Object.entries(strategies))("%s", (_, [make, options]) => {
  for (const { name, run } of strategyChecks(make, options)) it(name, run);
});
