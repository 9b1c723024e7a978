import type { Planner } from "@layerfold/core";
import { plannerChecks } from "@layerfold/testkit";
import { describe, it } from "vitest";
import { bestAdjacentPair } from "./best-adjacent-pair.js";
import { bestPartition } from "./best-partition.js";
import { contiguousBlock } from "./contiguous-block.js";
import { evolutionary } from "./evolutionary.js";
import { greedyHalves } from "./greedy-halves.js";
import { greedyKl } from "./greedy-kl.js";
import { greedyPerplexity } from "./greedy-perplexity.js";
import { lastFirst } from "./last-first.js";
import { lowestInfluence } from "./lowest-influence.js";
import { random } from "./random.js";
import { reverse } from "./reverse.js";
import { thresholdWalk } from "./threshold-walk.js";

const planners: Record<string, () => Planner> = {
  "best-adjacent-pair": () => bestAdjacentPair(),
  "best-adjacent-pair, pooled": () => bestAdjacentPair({ similarityRefresh: "pooled" }),
  "best-partition": () => bestPartition(),
  "contiguous-block": () => contiguousBlock(),
  evolutionary: () => evolutionary({ generations: 3, children: 3 }),
  "evolutionary, from greedy plans": () =>
    evolutionary({ judge: "divergence", greedyStarts: [2, 0], generations: 2, children: 2 }),
  "greedy-halves": () => greedyHalves(),
  "greedy-kl": () => greedyKl(),
  "greedy-perplexity": () => greedyPerplexity(),
  "greedy-perplexity after repair": () => greedyPerplexity({ judge: "repaired-loss" }),
  "last-first": () => lastFirst(),
  "lowest-influence": () => lowestInfluence(),
  random: () => random(),
  reverse: () => reverse(),
  "threshold-walk": () => thresholdWalk(),
};

describe.each(Object.entries(planners))("%s", (_, make) => {
  for (const { name, run } of plannerChecks(make)) it(name, run);
});
