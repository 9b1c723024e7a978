import {
  dropPlan,
  type Evidence,
  keptLayer,
  type MergePlan,
  type Planner,
  parsePlan,
  type RemeasuredLayers,
  type RunContext,
  tensor,
} from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { drawnEvidence, each } from "../drawn-evidence.test.fixture.js";
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

const context = (report?: RunContext["report"]): RunContext => ({
  rng: seededRng(1),
  engine: portableEngine(),
  report,
});

/** Similarity among three or four layers, given by its upper triangle. */
function evidenceOf(rows: number[][], extra: Partial<Evidence> = {}): Evidence {
  const size = rows.length;
  return {
    layerCount: size,
    similarity: tensor(Float64Array.from(rows.flat()), [size, size]),
    compatible: () => true,
    ...extra,
  };
}

const all: Planner[] = [
  bestAdjacentPair({ similarityRefresh: "pooled" }),
  lastFirst({ similarityRefresh: "pooled" }),
  lowestInfluence(),
  contiguousBlock({ firstLayer: 0 }),
  reverse(),
  random({ firstLayer: 0 }),
];

describe.each(all.map((planner) => [planner.id, planner] as const))("%s", (_, planner) => {
  it("leaves as many layers as asked for, each dense layer in one group, and repeats itself", async () => {
    const sizes = fc
      .integer({ min: 2, max: 12 })
      .chain((n) => fc.tuple(fc.constant(n), fc.integer({ min: 1, max: n - 1 })));
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(1000), async ([layerCount, target], seed) => {
        const evidence = drawnEvidence(layerCount, seed);
        const plan = await planner.plan(evidence, target, context());
        expect(plan.groups.length).toBe(target);
        expect(plan.groups.flatMap((g) => g.layers)).toEqual(Array.from({ length: layerCount }, (_, l) => l));
        for (const { weights } of plan.groups) {
          if (weights) expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
        }
        expect(await planner.plan(evidence, target, context())).toEqual(plan);
      }),
      { numRuns: 30 },
    );
  });

  it.each([0, 4, 5, 1.5])("refuses to leave %s of 4 layers", async (target) => {
    await expect(async () => planner.plan(drawnEvidence(4, 1), target, context())).rejects.toMatchObject({
      code: "LAYERS_OUT_OF_RANGE",
    });
  });

  it("says what it was not given", async () => {
    if (planner.needs.length === 0) return expect(["reverse", "random"]).toContain(planner.id);
    await expect(async () =>
      planner.plan({ layerCount: 4, compatible: () => true }, 2, context()),
    ).rejects.toMatchObject({ code: "EVIDENCE_MISSING" });
  });
});

describe("best-adjacent-pair", () => {
  const pooled = bestAdjacentPair({ similarityRefresh: "pooled" });

  it("folds the most similar neighbours, ties going to the later pair, with the products of a as weights", async () => {
    const rows = [
      [1, 0.5, 0, 0],
      [0.5, 1, 0.8, 0],
      [0, 0.8, 1, 0.8],
      [0, 0, 0.8, 1],
    ];
    const first = await pooled.plan(evidenceOf(rows), 3, context());
    expect(first.groups).toEqual([
      { layers: [0] },
      { layers: [1] },
      { layers: [2, 3], weights: [0.8, expect.closeTo(0.2)] },
    ]);
    // Pooled: s(1, {2,3}) = (0.8 + 0) / 2 = 0.4 < s(0, 1) = 0.5.
    const second = await pooled.plan(evidenceOf(rows), 2, context());
    expect(second.groups[0]).toEqual({ layers: [0, 1], weights: [0.5, 0.5] });
    // Then s({0,1}, {2,3}) = (0 + 0 + 0.8 + 0) / 4 = 0.2.
    const third = await pooled.plan(evidenceOf(rows), 1, context());
    const wanted = [0.2 * 0.5, 0.2 * 0.5, 0.8 * 0.8, 0.8 * 0.2];
    third.groups[0].weights!.forEach((w, i) => {
      expect(w).toBeCloseTo(wanted[i], 12);
    });
  });

  it("asks for the merged model's own similarities after every fold but the last", async () => {
    const asked: RemeasuredLayers[] = [];
    const rows = [
      [1, 0.9, 0, 0],
      [0.9, 1, 0.1, 0],
      [0, 0.1, 1, 0.2],
      [0, 0, 0.2, 1],
    ];
    const remeasure = each(async (layers: RemeasuredLayers) => {
      asked.push(layers);
      // On the merged model the folded layer turns out to be like layer 2.
      return tensor(Float64Array.from([1, 0.7, 0.7, 1]), [2, 2]);
    });
    const plan = await bestAdjacentPair().plan(evidenceOf(rows, { remeasure }), 2, context());
    expect(asked.map(({ plan, groups }) => [plan.groups.length, groups])).toEqual([[3, [0, 1]]]);
    expect(plan.groups.map((g) => g.layers)).toEqual([[0, 1, 2], [3]]);
  });

  it("reports when it has to pool although it should measure", async () => {
    const codes: string[] = [];
    const report: RunContext["report"] = (event) => event.type === "diagnostic" && codes.push(event.code);
    await bestAdjacentPair().plan(drawnEvidence(4, 3), 2, context(report));
    expect(codes).toEqual(["SIMILARITY_POOLED"]);
  });

  it("never folds layers that cannot stand for one another", async () => {
    const compatible = (a: number, b: number) => a % 2 === b % 2;
    await expect(
      pooled.plan(
        evidenceOf(
          [
            [1, 1],
            [1, 1],
          ],
          { compatible },
        ),
        1,
        context(),
      ),
    ).rejects.toMatchObject({
      code: "PLAN_IMPOSSIBLE",
    });
    const onlyLate = (a: number, _b: number) => a >= 1;
    const plan = await pooled.plan(
      evidenceOf(
        [
          [1, 0.9, 0],
          [0.9, 1, 0.1],
          [0, 0.1, 1],
        ],
        { compatible: onlyLate },
      ),
      2,
      context(),
    );
    expect(plan.groups.map((g) => g.layers)).toEqual([[0], [1, 2]]);
  });

  it("weighs as MKA's released code does when asked to", async () => {
    const planner = bestAdjacentPair({ similarityRefresh: "pooled", weighting: "row-mean-sigmoid" });
    const plan = await planner.plan(
      evidenceOf([
        [1, 0.5],
        [0.5, 1],
      ]),
      1,
      context(),
    );
    // Equal row means: σ(1/2) = 0.6225.
    expect(plan.groups[0].weights![0]).toBeCloseTo(1 / (1 + Math.exp(-0.5)), 12);
  });
});

describe("best-partition", () => {
  /** Folding the layers from `first` on costs the sum of what their seams cost, on top of a dense loss of 2. */
  const evidence = (seams: readonly number[], asked: (readonly number[])[] = []): Evidence => ({
    layerCount: seams.length + 1,
    compatible: () => true,
    evaluateFolded: each(async (layers) => {
      asked.push(layers);
      return 2 + layers.slice(1).reduce((sum, layer) => sum + seams[layer - 1], 0) ** 1.5;
    }),
  });

  it("takes the pairs that cost least together, though the cheapest of all is not among them", async () => {
    // Seams 0|1 1|2 2|3 3|4: the cheapest seam 2|3 shuts out both of its neighbours.
    const plan = await bestPartition().plan(evidence([9, 2, 1, 2]), 3, context());
    expect(plan).toEqual(dropPlan(5, [0, 1, 3]));
    const one = await bestPartition().plan(evidence([9, 2, 1, 2]), 4, context());
    expect(one).toEqual(dropPlan(5, [0, 1, 2, 4]));
  });

  it("is no worse than any other partition", async () => {
    const sizes = fc.tuple(
      fc.array(fc.double({ min: 0, max: 5, noNaN: true }), { minLength: 2, maxLength: 6 }),
      fc.nat(),
    );
    await fc.assert(
      fc.asyncProperty(sizes, async ([seams, draw]) => {
        const layerCount = seams.length + 1;
        const target = 2 + (draw % (layerCount - 2 || 1));
        if (target >= layerCount) return;
        const given = evidence(seams);
        const planner = bestPartition({ largestGroup: layerCount });
        const costOf = async (plan: MergePlan) => {
          let sum = 0;
          for (const { layers } of plan.groups) sum += (await given.evaluateFolded!([layers]))[0] - 2;
          return sum;
        };
        const found = await planner.plan(given, target, context());
        expect(found.groups.length).toBe(target);
        const least = await costOf(found);
        for (let mask = 0; mask < 2 ** (layerCount - 2); mask++) {
          const kept = [0, 1];
          for (let layer = 2; layer < layerCount; layer++) if ((mask >> (layer - 2)) & 1) kept.push(layer);
          if (kept.length !== target) continue;
          expect(least).toBeLessThanOrEqual((await costOf(dropPlan(layerCount, kept))) + 1e-9);
        }
      }),
      { numRuns: 40 },
    );
  });

  it("asks for every small group once, from the front to the back, whatever is left standing", async () => {
    const asked: (readonly number[])[] = [];
    await bestPartition({ largestGroup: 3 }).plan(evidence([1, 1, 1, 1], asked), 4, context());
    expect(asked).toEqual([[], [1, 2], [1, 2, 3], [2, 3], [2, 3, 4], [3, 4]]);
  });

  it("lets groups grow where there is no other way, and says so", async () => {
    const codes: string[] = [];
    const report: RunContext["report"] = (event) => event.type === "diagnostic" && codes.push(event.code);
    const plan = await bestPartition().plan(evidence([1, 1, 1, 1, 1, 1]), 3, context(report));
    expect(plan.groups.length).toBe(3);
    expect(codes).toEqual(["GROUPS_GROW", "GROUPS_JUDGED"]);
  });

  it("tells what every group that it tried costs, the cheapest first", async () => {
    const messages: string[] = [];
    const report: RunContext["report"] = (event) =>
      event.type === "diagnostic" && messages.push(event.message);
    await bestPartition({ largestGroup: 3 }).plan(evidence([9, 4, 1]), 3, context(report));
    expect(messages).toEqual([
      "what a fold of these layers alone adds to the loss: 2+3 1.0000, 1+2 8.0000, 1+2+3 11.1803",
    ]);
  });

  it("says what it was not given, and what cannot be", async () => {
    const blind = { layerCount: 4, compatible: () => true };
    await expect(bestPartition().plan(blind, 3, context())).rejects.toMatchObject({
      code: "EVIDENCE_MISSING",
    });
    await expect(bestPartition().plan(evidence([1, 1, 1]), 1, context())).rejects.toMatchObject({
      code: "PLAN_IMPOSSIBLE",
    });
    const strangers = { ...evidence([1, 1, 1]), compatible: (a: number, b: number) => a === b };
    await expect(bestPartition().plan(strangers, 3, context())).rejects.toMatchObject({
      code: "PLAN_IMPOSSIBLE",
    });
  });
});

it("last-first makes one layer of the tail", async () => {
  const plan = await lastFirst({ weighting: "fixed", ratio: 0.5, similarityRefresh: "pooled" }).plan(
    drawnEvidence(6, 2),
    3,
    context(),
  );
  expect(plan.groups.at(-1)).toEqual({ layers: [2, 3, 4, 5], weights: [0.5, 0.25, 0.125, 0.125] });
});

it("lowest-influence drops the blocks whose output is most like their input", () => {
  // Cosine between depth l and l + 1: 0.1, 0.9, 0.5, 0.95 → layers 3 and 1 change least.
  const cosine = tensor(new Float64Array(25), [5, 5]);
  [0.1, 0.9, 0.5, 0.95].forEach((c, l) => {
    cosine.set(l, l + 1, c);
  });
  const evidence = drawnEvidence(4, 1);
  const tokenStatistics = { ...evidence.tokenStatistics!, cosine };
  const plan = lowestInfluence().plan({ ...evidence, tokenStatistics }, 2, context());
  expect(plan).toEqual(dropPlan(4, [0, 2]));
});

it("contiguous-block drops the run over which the stream turns least", () => {
  const angle = tensor(new Float64Array(36).fill(0.5), [6, 6]);
  angle.set(0, 2, 0.01);
  angle.set(2, 4, 0.1);
  const evidence = drawnEvidence(5, 1);
  const tokenStatistics = { ...evidence.tokenStatistics!, angle };
  expect(contiguousBlock().plan({ ...evidence, tokenStatistics }, 3, context())).toEqual(
    dropPlan(5, [0, 1, 4]),
  );
  expect(contiguousBlock({ firstLayer: 0 }).plan({ ...evidence, tokenStatistics }, 3, context())).toEqual(
    dropPlan(5, [2, 3, 4]),
  );
  expect(() =>
    contiguousBlock({ firstLayer: 2 }).plan({ ...evidence, tokenStatistics }, 1, context()),
  ).toThrow(expect.objectContaining({ code: "PLAN_IMPOSSIBLE" }));
});

it("random never drops the first layer", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const plan = await random().plan(drawnEvidence(6, 1), 2, { ...context(), rng: seededRng(seed) });
    expect(keptLayer(plan.groups[0])).toBe(0);
  }
});

describe("greedy-perplexity", () => {
  // Every layer that is missing costs its own amount; 3 and 4 cost far more together.
  const cost = [9, 3, 5, 1, 2, 4];
  const loss = (plan: MergePlan) => {
    const kept = new Set(plan.groups.map(keptLayer));
    const sum = cost.reduce((total, c, layer) => total + (kept.has(layer) ? 0 : c), 0);
    return sum + (kept.has(3) || kept.has(4) ? 0 : 10);
  };
  const evidence = (asked: MergePlan[] = []): Evidence => ({
    layerCount: 6,
    compatible: () => true,
    evaluate: each(async (plan) => {
      asked.push(plan);
      return loss(plan);
    }),
  });

  it("drops the layer that is missed least, given those that went before", async () => {
    expect(await greedyPerplexity().plan(evidence(), 4, context())).toEqual(dropPlan(6, [0, 2, 4, 5]));
  });

  it("in its lazy form tries the whole model and all layers once, and then the most promising until one costs no more than the next did", async () => {
    const asked: MergePlan[] = [];
    const plan = await greedyPerplexity({ candidateCount: 2 }).plan(evidence(asked), 4, context());
    expect(plan).toEqual(dropPlan(6, [0, 2, 4, 5]));
    // Without 3, layer 4 costs 12 and not 2, so 1 is tried as well.
    expect(asked.length).toBe(1 + 5 + 2);
    expect(asked.slice(-2)).toEqual([dropPlan(6, [0, 1, 2, 5]), dropPlan(6, [0, 2, 4, 5])]);
  });

  it("in its lazy form finds what it finds else, with fewer trials, where a layer is missed no less as others go", async () => {
    const costs = fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { minLength: 5, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(costs, fc.integer({ min: 1, max: 4 }), async (cost, gone) => {
        const asked = { lazy: 0, whole: 0 };
        const of = (which: keyof typeof asked): Evidence => ({
          layerCount: cost.length,
          compatible: () => true,
          evaluate: each(async ({ groups }) => {
            asked[which]++;
            const kept = new Set(groups.map(keptLayer));
            return cost.reduce((sum, c, layer) => sum + (kept.has(layer) ? 0 : c), 0) ** 2;
          }),
        });
        const target = cost.length - gone;
        const lazy = await greedyPerplexity({ candidateCount: 99 }).plan(of("lazy"), target, context());
        const whole = await greedyPerplexity().plan(of("whole"), target, context());
        expect(lazy).toEqual(whole);
        expect(asked.lazy).toBeLessThanOrEqual(asked.whole + 1);
      }),
    );
  });

  it("never takes a plan whose loss is not a number for the best", async () => {
    const broken: Evidence = {
      ...evidence(),
      evaluate: each(async (plan) =>
        plan.groups.some(({ layers }) => layers.length > 1 && layers[0] === 0) ? Number.NaN : loss(plan),
      ),
    };
    expect(await greedyPerplexity().plan(broken, 5, context())).toEqual(dropPlan(6, [0, 1, 2, 4, 5]));
  });

  it("keeps groups as small as it is told", async () => {
    const plan = await greedyPerplexity({ largestGroup: 2 }).plan(evidence(), 3, context());
    expect(plan).toEqual(dropPlan(6, [0, 2, 4]));
  });

  it("lets groups grow where there is no other way, and says so", async () => {
    const codes: string[] = [];
    const report: RunContext["report"] = (event) => event.type === "diagnostic" && codes.push(event.code);
    const plan = await greedyPerplexity({ largestGroup: 2 }).plan(evidence(), 2, context(report));
    expect(Math.max(...plan.groups.map(({ layers }) => layers.length))).toBeGreaterThan(2);
    expect(codes[0]).toBe("GROUPS_GROW");
    await expect(greedyPerplexity({ firstLayer: 3 }).plan(evidence(), 2, context())).rejects.toMatchObject({
      code: "PLAN_IMPOSSIBLE",
    });
  });

  it("says what it was not given", async () => {
    const blind = { layerCount: 4, compatible: () => true };
    await expect(greedyPerplexity().plan(blind, 2, context())).rejects.toMatchObject({
      code: "EVIDENCE_MISSING",
    });
  });
});

it("greedy-kl goes by the divergence, not by the loss", async () => {
  const evidence: Evidence = {
    layerCount: 4,
    compatible: () => true,
    evaluate: each(async () => expect.unreachable("asked for the loss")),
    evaluateDivergence: each(async (plan) => (plan.groups.some((group) => keptLayer(group) === 2) ? 1 : 0)),
  };
  expect(greedyKl().needs).toEqual(["evaluateDivergence"]);
  expect(await greedyKl().plan(evidence, 3, context())).toEqual(dropPlan(4, [0, 1, 3]));
  const { evaluateDivergence: _, ...without } = evidence;
  await expect(greedyKl().plan(without, 3, context())).rejects.toMatchObject({ code: "EVIDENCE_MISSING" });
});

describe("evolutionary", () => {
  // Layers 1 and 2 are cheap alone and dear together; so are 4 and 5 in the other way: only together they cost nothing.
  const loss = (plan: MergePlan) => {
    const gone = (layer: number) => !plan.groups.some((group) => keptLayer(group) === layer);
    const pair = gone(4) && gone(5);
    return (
      [0, 1, 2, 3, 6, 7].filter(gone).length + (pair ? 0 : [4, 5].filter(gone).length * 5) + (gone(0) ? 9 : 0)
    );
  };
  const evidence = (asked: MergePlan[] = []): Evidence => ({
    layerCount: 8,
    compatible: () => true,
    evaluate: each(async (plan) => {
      asked.push(plan);
      return loss(plan);
    }),
  });

  it("finds a pair that a greedy search misses", async () => {
    const plan = await evolutionary().plan(evidence(), 6, context());
    expect(plan).toEqual(dropPlan(8, [0, 1, 2, 3, 6, 7]));
    expect(loss(await greedyPerplexity().plan(evidence(), 6, context()))).toBe(2);
  });

  it("tries no set twice, keeps the first layer and repeats itself", async () => {
    const asked: MergePlan[] = [];
    const once = await evolutionary().plan(evidence(asked), 3, context());
    expect(new Set(asked.map((plan) => JSON.stringify(plan))).size).toBe(asked.length);
    for (const plan of asked) {
      expect(plan.groups.length).toBe(3);
      expect(keptLayer(plan.groups[0])).toBe(0);
    }
    expect(await evolutionary().plan(evidence(), 3, context())).toEqual(once);
  });

  it("judges after fold and repair where it is told to, from the best greedy plan on", async () => {
    // Dropped, the pair 4, 5 costs nothing; repaired, layers 1 and 2 do.
    const repaired: MergePlan[] = [];
    const both: Evidence = {
      ...evidence(),
      evaluateRepaired: each(async (plan) => {
        repaired.push(plan);
        const gone = (layer: number) => !plan.groups.some((group) => keptLayer(group) === layer);
        return 2 - [1, 2].filter(gone).length;
      }),
    };
    const planner = evolutionary({ judge: "repaired-loss", greedyStarts: [1, 0, 2], generations: 20 });
    expect(planner.needs).toEqual(["evaluate", "evaluateRepaired"]);
    expect(await planner.plan(both, 6, context())).toEqual(dropPlan(8, [0, 3, 4, 5, 6, 7]));
    const start = await greedyPerplexity({ largestGroup: 1 }).plan(both, 6, context());
    expect(repaired[0]).toEqual(start);
    await expect(planner.plan(evidence(), 6, context())).rejects.toMatchObject({ code: "EVIDENCE_MISSING" });
    const greedy = greedyPerplexity({ judge: "repaired-loss" });
    expect(await greedy.plan(both, 6, context())).toEqual(dropPlan(8, [0, 3, 4, 5, 6, 7]));
  });

  it("says what it was not given, and what cannot be", async () => {
    const blind = { layerCount: 4, compatible: () => true };
    await expect(evolutionary().plan(blind, 2, context())).rejects.toMatchObject({
      code: "EVIDENCE_MISSING",
    });
    await expect(evolutionary({ firstLayer: 3 }).plan(evidence(), 2, context())).rejects.toMatchObject({
      code: "PLAN_IMPOSSIBLE",
    });
  });
});

describe("greedy-halves", () => {
  /** What a plan silences: half 2l is attention of layer l, half 2l + 1 its MLP. */
  const silentHalves = ({ groups }: MergePlan) =>
    groups.flatMap((group) => {
      const gone = group.layers.filter((layer) => layer !== keptLayer(group));
      if (!group.without) return gone.flatMap((layer) => [2 * layer, 2 * layer + 1]);
      return group.without.map((part) => 2 * group.layers[0] + (part === "mlp" ? 1 : 0));
    });
  const evidenceOfCosts = (costs: readonly number[]): Evidence => ({
    layerCount: costs.length / 2,
    compatible: () => true,
    evaluate: each(async (plan) => silentHalves(plan).reduce((sum, half) => sum + costs[half], 0)),
  });
  const planFor = async (costs: readonly number[], target: number, options = {}) =>
    greedyHalves({ judge: "loss", ...options }).plan(evidenceOfCosts(costs), target, context());

  it("silences what is missed least; a layer that is silent goes into a whole neighbour", async () => {
    // Layers 0 … 4; both halves of 1, the attention of 3 and the MLP of 4 cost least.
    const costs = [0, 0, 1, 1, 9, 9, 2, 9, 9, 2];
    expect((await planFor(costs, 3)).groups).toEqual([
      { layers: [0, 1], weights: [1, 0] },
      { layers: [2] },
      { layers: [3], without: ["attention"] },
      { layers: [4], without: ["mlp"] },
    ]);
    // Between two halves it finds no home, behind a half it goes into the layer behind.
    expect((await planFor([9, 1, 1, 1, 1, 9], 1, { firstLayer: 0 })).groups).toEqual([
      { layers: [0], without: ["mlp"] },
      { layers: [1], without: ["attention", "mlp"] },
      { layers: [2], without: ["attention"] },
    ]);
    expect((await planFor([9, 1, 1, 1, 9, 9, 9, 1], 2, { firstLayer: 0 })).groups).toEqual([
      { layers: [0], without: ["mlp"] },
      { layers: [1, 2], weights: [0, 1] },
      { layers: [3], without: ["mlp"] },
    ]);
  });

  it("gives plans that hold, with as many silent halves as the layers had that were to go", async () => {
    const sizes = fc.integer({ min: 2, max: 9 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), fc.integer(), async (layerCount, drawn, seed) => {
        const rng = seededRng(seed);
        const costs = Array.from({ length: 2 * layerCount }, () => rng.uniform());
        const target = 1 + (drawn % (layerCount - 1));
        const plan = parsePlan(await planFor(costs, target, { firstLayer: 0 }));
        const silent = silentHalves(plan).sort((a, b) => costs[a] - costs[b]);
        const cheapest = costs.map((_, half) => half).sort((a, b) => costs[a] - costs[b]);
        expect(silent).toEqual(cheapest.slice(0, 2 * (layerCount - target)));
      }),
    );
  });

  it("says what it was not given, and what cannot be", async () => {
    await expect(planFor([1, 1, 1, 1], 1, { firstLayer: 2 })).rejects.toMatchObject({
      code: "PLAN_IMPOSSIBLE",
      wanted: "2 halves",
      got: "0",
    });
    const none = { layerCount: 4, compatible: () => true };
    await expect(async () => greedyHalves().plan(none, 2, context())).rejects.toMatchObject({
      code: "EVIDENCE_MISSING",
    });
  });
});

describe("threshold-walk", () => {
  /** Merges that join layers 3 and 4 turn the output; all others hardly do. */
  const evidence: Evidence = {
    layerCount: 6,
    compatible: () => true,
    compareOutputs: each(async ({ groups }) =>
      groups.some(({ layers }) => layers.includes(3) && layers.includes(4)) ? 0.1 : 0.9,
    ),
  };
  const groupsOf = async (options: Parameters<typeof thresholdWalk>[0], of = evidence, target = 4) =>
    (await thresholdWalk(options).plan(of, target, context())).groups.map(({ layers }) => layers);

  it("walks from the tail, an interval between merges, past those that turn the output", async () => {
    expect(await groupsOf({ mergedLayers: 2 })).toEqual([[0], [1], [2, 3], [4, 5]]);
    expect(await groupsOf({ mergedLayers: 4 })).toEqual([[0], [1, 2, 3], [4], [5]]);
  });

  it("lowers its threshold no further than it must, and says where it stopped", async () => {
    const messages: string[] = [];
    const report: RunContext["report"] = (event) => {
      if (event.type === "diagnostic") messages.push(event.message);
    };
    const walk = async (target: number) =>
      thresholdWalk({ thresholdStep: 0.25 }).plan(evidence, target, context(report));
    await walk(4);
    await expect(walk(1)).rejects.toMatchObject({ code: "PLAN_IMPOSSIBLE" });
    expect(messages).toEqual([expect.stringContaining("0.750")]);
  });

  it("leaves as many layers as asked for, whatever the outputs are like", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 12 }), fc.integer(), async (layerCount, seed) => {
        const rng = seededRng(seed);
        const drawn: Evidence = {
          layerCount,
          compatible: () => true,
          compareOutputs: each(async () => rng.uniform()),
        };
        const target = Math.max(1, layerCount - 1);
        const groups = await groupsOf({ firstLayer: 0, interval: 1 }, drawn, target);
        expect(groups).toHaveLength(target);
        expect(groups.flat()).toEqual(Array.from({ length: layerCount }, (_, layer) => layer));
      }),
    );
  });

  it("says when the walk cannot take so many, or has no text to try merges on", async () => {
    await expect(groupsOf({ firstLayer: 5 })).rejects.toMatchObject({ code: "PLAN_IMPOSSIBLE", got: "6" });
    const none = { layerCount: 6, compatible: () => true };
    await expect(groupsOf({}, none)).rejects.toMatchObject({ code: "EVIDENCE_MISSING" });
  });
});
