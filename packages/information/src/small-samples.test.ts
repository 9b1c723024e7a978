import { defineSimilarity, type Matrix, tensor, z } from "@layerfold/core";
import { quantile } from "@layerfold/linalg";
import { randomMatrix, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { digammaTable } from "./digamma.js";
import { estimateInformation, preparePoints } from "./estimate-information.js";
import { entropy } from "./kozachenko-leonenko-entropy.js";
import { mutualInformation } from "./ksg-mutual-information.js";
import { mkaReleasedCode } from "./mka-released-code.js";
import { nearestSamples, neighborGrid } from "./neighbor-grid.js";
import { nonUniformityCorrection } from "./non-uniformity-correction.js";
import { normalQuantile } from "./normal-quantile.js";
import { normalScores } from "./normal-scores.js";
import { npib } from "./npib.js";
import { permutationTest } from "./permutation-test.js";
import { rankHistogramInformation } from "./rank-histogram.js";
import { readPoints } from "./read-points.js";
import { pairedRows, selectRows } from "./select-rows.js";
import { endWithin, firstWithin, sortedAxis } from "./sorted-axis.js";
import { subsampleInterval } from "./subsample-interval.js";
import { univariateMutualInformation } from "./univariate-mutual-information.js";

const column = (...values: number[]) => tensor(Float64Array.from(values), [values.length, 1]);

it("digamma is −γ at 1 and grows by 1/m", () => {
  const gamma = 0.5772156649015329;
  const table = digammaTable(4);
  expect(table[0]).toBe(Number.NEGATIVE_INFINITY);
  [-gamma, 1 - gamma, 1.5 - gamma, 1.5 + 1 / 3 - gamma].forEach((value, i) => {
    expect(table[i + 1]).toBeCloseTo(value, 15);
  });
  expect(digammaTable(0)).toHaveLength(1);
});

describe("the non-uniformity correction", () => {
  const points = (...values: number[]) => ({
    values: Float64Array.from(values),
    count: values.length,
    dimensions: 1,
  });
  /** Of three samples only the first counts: the others are at distance 0 of their neighbours. */
  const of = (x: number[], y: number[], distance: number, threshold: number) =>
    nonUniformityCorrection(
      points(...x),
      points(...y),
      { distance: Float64Array.of(distance, 0, 0), neighbors: Int32Array.of(1, 2, 0, 2, 0, 1) },
      threshold,
    );

  it("is −log of the box's share of the cube, along the neighbours' own axes", () => {
    // Neighbours at (2, 0) and (0, ½), ε = 2: a box of half sides 1 and ¼ in units of ε.
    expect(of([0, 2, 0], [0, 0, 0.5], 2, 0.5)).toBeCloseTo(-Math.log(0.25) / 3, 12);
    // The same seen from (1, −1), so that the neighbours' places are not their offsets.
    expect(of([1, 3, 1], [-1, -1, -0.5], 2, 0.5)).toBeCloseTo(-Math.log(0.25) / 3, 12);
    // Turned by 45°: neighbours at (1, 1) and (−0.1, 0.1), ε = 1: half sides √2 and √2/10, a share of 1/5.
    expect(of([0, 1, -0.1], [0, 1, 0.1], 1, 0.5)).toBeCloseTo(-Math.log(0.2) / 3, 12);
  });

  it("leaves samples whose box is no smaller than the threshold, and flat boxes, which have no volume", () => {
    expect(of([0, 2, 0], [0, 0, 1.2], 2, 0.5)).toBeCloseTo(0, 15);
    expect(of([0, 2, 0], [0, 0, 0.8], 2, 0.5)).toBeCloseTo(-Math.log(0.4) / 3, 12);
    expect(of([0, 2, 1], [0, 0, 0], 2, 0.5)).toBeCloseTo(0, 15);
  });
});

describe("rows", () => {
  it("are taken in the order asked for, in the matrix's own dtype and from any view", () => {
    const m = tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]);
    expect(selectRows(m, Int32Array.of(2, 0, 2))).toMatchObject({
      shape: [3, 2],
      data: Float32Array.of(5, 6, 1, 2, 5, 6),
    });
    const turned = tensor(Float64Array.of(1, 2, 3, 4, 5, 6), [2, 3], [1, 2]);
    expect(selectRows(turned, Int32Array.of(1)).data).toEqual(Float64Array.of(2, 4, 6));
  });

  it("are paired where there are as many", () => {
    expect(pairedRows(column(1, 2), tensor(new Float64Array(6), [2, 3]))).toBe(2);
    expect(() => pairedRows(column(1, 2), column(1))).toThrow(
      expect.objectContaining({ code: "SAMPLE_COUNT_MISMATCH" }),
    );
  });
});

/** Σ a·b: a measure that can be worked out. */
const product = defineSimilarity({
  id: "product",
  summary: "",
  optionsSchema: z.strictObject({}),
  create: () => ({
    traits: { symmetric: true, stochastic: false, range: [-100, 100], invariantTo: [] },
    prepare: (layer: Matrix) => layer,
    compare: (a: Matrix, b: Matrix) => Array.from(a.data).reduce((sum, x, i) => sum + x * b.data[i], 0),
  }),
})();

it("a permutation test counts shuffles that are as high, itself among them", async () => {
  const a = column(1, 2, 3, 4, 5, 6, 7, 8);
  const ctx = testContext(3);
  // Rearrangement: no order gives more than the sorted one, none less than the reversed one, and equal rows all give the same.
  const of = async (b: Matrix) => permutationTest(product, a, b, ctx, { permutationCount: 19 });
  expect(await of(a)).toEqual({ value: 204, pValue: 1 / 20 });
  expect(await of(column(8, 7, 6, 5, 4, 3, 2, 1))).toEqual({ value: 120, pValue: 1 });
  expect(await of(column(1, 1, 1, 1, 1, 1, 1, 1))).toEqual({ value: 36, pValue: 1 });
});

it("a subsample interval is the spread of halves about their mean, put on the whole's value", async () => {
  const values = [1, 4, 2, 8, 5, 7];
  const ctx = testContext(4);
  const [repetitions, level] = [20, 0.8];
  const a = column(...values, 3);
  // Seven samples: halves of three, so that σ² shrinks by m / (n − m) = 3/4.
  const halves = Array.from({ length: repetitions }, (_, k) => {
    const order = ctx.rng.fork(`half ${k}`).permutation(7).subarray(0, 3);
    return order.reduce((sum, i) => sum + a.data[i] ** 2, 0);
  });
  const mean = halves.reduce((sum, value) => sum + value, 0) / repetitions;
  const { value, low, high } = await subsampleInterval(product, a, a, ctx, { repetitions, level });
  expect(value).toBe(168);
  expect(low).toBeCloseTo(168 + Math.sqrt(0.75) * (quantile(halves, 0.1) - mean), 10);
  expect(high).toBeCloseTo(168 + Math.sqrt(0.75) * (quantile(halves, 0.9) - mean), 10);
});

it("the samples within a distance are those that a scan finds, in every gap and at every end", () => {
  const values = Float64Array.of(3, 0, 0, 10, 3, 4, 9.5);
  const axis = sortedAxis(values, 7, 1, 0);
  const sorted = [0, 0, 3, 3, 4, 9.5, 10];
  expect([...axis.sorted]).toEqual(sorted);
  expect([...axis.order].map((i) => values[i])).toEqual(sorted);
  expect([...axis.rank].map((place) => sorted[place])).toEqual([...values]);
  // Parts of 10/7: starts of 0, 1.43, 2.86, 4.29, 5.71, 7.14, 8.57, 10; the last value lies in the last of them.
  expect([...axis.bucketStart]).toEqual([0, 2, 2, 5, 5, 5, 5, 6, 7]);
  for (const value of sorted) {
    for (const radius of [0.4, 0.5, 0.6, 1, 3, 3.5, 5.6, 100]) {
      const inside = sorted.map((x) => Math.abs(x - value) < radius);
      expect(firstWithin(axis, value, radius)).toBe(inside.indexOf(true));
      expect(endWithin(axis, value, radius)).toBe(inside.lastIndexOf(true) + 1);
    }
  }
  expect(sortedAxis(Float64Array.of(2, 2), 2, 1, 0).scale).toBe(0);
});

it("every pair of coordinates has its own place", () => {
  const { rng } = testContext(5);
  const x = randomMatrix(60, 2, rng);
  const y = randomMatrix(60, 3, rng);
  for (let i = 0; i < 60; i++) y.data[3 * i + 1] = x.data[2 * i];
  const found = univariateMutualInformation(x, y, { neighborCount: 3 });
  expect(found.shape).toEqual([2, 3]);
  // x's first coordinate is y's second: ψ(n) + ψ(k) − 2 ψ(k), every margin holding the k − 1 nearer ones and the sample itself.
  const digamma = digammaTable(60);
  expect(found.data[1]).toBeCloseTo(digamma[60] - digamma[3], 12);
  for (const at of [0, 2, 3, 4, 5]) expect(found.data[at]).toBeLessThan(0.5);
});

it("univariate information of two layers is the mean over pairs of coordinates", () => {
  const { rng } = testContext(6);
  const [x, y] = [randomMatrix(50, 2, rng), randomMatrix(50, 2, rng)];
  for (let i = 0; i < 50; i++) y.data[2 * i] += 2 * x.data[2 * i];
  const options = { estimator: "univariate", neighborCount: 3, nonUniformityThreshold: 0 } as const;
  const [a, b] = [x, y].map((layer) => preparePoints(readPoints(layer, 4), options));
  const pairs = univariateMutualInformation(x, y, { neighborCount: 3 }).data;
  const mean = pairs.reduce((sum, value) => sum + value, 0) / 4;
  expect(mean).toBeGreaterThan(0.05);
  expect(estimateInformation(a, b, options)).toBeCloseTo(mean, 12);
});

it("k neighbours need k + 1 samples, and k is a whole number of 1 or more", () => {
  const few = randomMatrix(3, 1, testContext(7).rng);
  expect(() => univariateMutualInformation(few, few, { neighborCount: 3 })).toThrow(
    expect.objectContaining({ code: "SAMPLES_TOO_FEW", wanted: "at least 4" }),
  );
  for (const neighborCount of [0, 1.5, -1]) {
    for (const refused of [
      () => univariateMutualInformation(few, few, { neighborCount }),
      () => mutualInformation(few, few, { neighborCount }),
      () => entropy(few, { neighborCount }),
    ]) {
      expect(refused).toThrow(expect.objectContaining({ code: "NEIGHBOR_COUNT_INVALID" }));
    }
  }
});

it("normal scores are the normal quantiles of (rank + ½) / n", () => {
  const points = { values: Float64Array.of(3, 10, 1, 30, 2, 20), count: 3, dimensions: 2 };
  const score = [1 / 6, 1 / 2, 5 / 6].map(normalQuantile);
  const { values } = normalScores(points, testContext(1).rng);
  expect([...values]).toEqual([score[2], score[0], score[0], score[2], score[1], score[1]]);
});

it("independent coordinates on a full grid share no information, however many cells there are", () => {
  // All 256 combinations of four bins of four coordinates, once each; steps within a bin keep ranks apart.
  const digit = (i: number, c: number) => ((i >> (2 * c)) & 3) + i / 10_000;
  const side = (first: number) =>
    tensor(
      Float64Array.from({ length: 512 }, (_, at) => digit(at >> 1, first + (at & 1))),
      [256, 2],
    );
  expect(rankHistogramInformation(side(0), side(2), testContext(1).rng)).toBeCloseTo(0, 12);
  expect(rankHistogramInformation(side(0), side(1), testContext(1).rng)).toBeCloseTo(Math.log(4), 12);
});

it.each(["maximum", "euclidean"] as const)(
  "of equally near samples those that come first, %s norm",
  (norm) => {
    // Whole coordinates, so that distances tie exactly.
    const { rng } = testContext(8);
    const points = {
      values: Float64Array.from({ length: 180 }, () => rng.integer(5)),
      count: 60,
      dimensions: 3,
    };
    const { neighbors } = nearestSamples(neighborGrid(points), 4, norm, "neighbors");
    const distance = (i: number, j: number) => {
      const gaps = [0, 1, 2].map((c) => Math.abs(points.values[3 * i + c] - points.values[3 * j + c]));
      return norm === "maximum" ? Math.max(...gaps) : gaps.reduce((sum, gap) => sum + gap * gap, 0);
    };
    for (let i = 0; i < 60; i++) {
      const order = Array.from({ length: 60 }, (_, j) => j)
        .filter((j) => j !== i)
        .sort((a, b) => distance(i, a) - distance(i, b) || a - b);
      // A sample counts itself in its number's place among its duplicates, so with many of those the last may be another.
      if (order.filter((j) => distance(i, j) === 0).length > 0) continue;
      expect([...neighbors.subarray(4 * i, 4 * i + 4)]).toEqual(order.slice(0, 4));
    }
  },
);

it("the released code with its quirks mended is KSG over the geometric mean of entropies", () => {
  const { rng } = testContext(9);
  // Far apart, so that entropies are positive; of unlike spread, which is divided out of the information only.
  const x = randomMatrix(60, 2, rng);
  const y = randomMatrix(60, 2, rng);
  for (let at = 0; at < 120; at++) {
    y.data[at] = 20 * (x.data[at] + 0.5 * y.data[at]);
    x.data[at] *= at % 2 ? 10 : 30;
  }
  const mended = mkaReleasedCode({
    neighborCount: 4,
    entropyNeighborCount: 6,
    rankNormalize: false,
    entropyConstants: true,
    univariate: false,
  });
  const scaled = (m: Matrix) => {
    const deviation = [0, 1].map((c) => {
      const values = Array.from({ length: 60 }, (_, i) => m.data[2 * i + c]);
      const mean = values.reduce((sum, value) => sum + value, 0) / 60;
      return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 60);
    });
    return tensor(
      Float64Array.from(m.data, (value, at) => value / deviation[at % 2]),
      [60, 2],
    );
  };
  const of = (m: Matrix) => mended.prepare(m, testContext(1)) as never;
  const information = mutualInformation(scaled(x), scaled(y), { neighborCount: 4 });
  expect(information).toBeGreaterThan(0.3);
  const size = Math.sqrt(entropy(x, { neighborCount: 6 }) * entropy(y, { neighborCount: 6 }));
  // Noise of 1e-10 moves distances by as much.
  expect(mended.compare(of(x), of(y), testContext(1))).toBeCloseTo(information / size, 7);
});

it("npib says what it is invariant to, and leaves estimators without neighbours to one thread", async () => {
  const rank = ["translation", "isotropic-scale"];
  for (const [options, invariantTo] of [
    [{}, rank],
    [{ margins: "raw" }, []],
    [{ margins: "raw", estimator: "rank-histogram" }, rank],
    [{ margins: "raw", normalization: "geometric-entropy" }, rank],
  ] as const) {
    expect(npib(options).traits).toEqual({ symmetric: true, stochastic: true, range: [0, 1], invariantTo });
  }
  for (const estimator of ["gaussian", "rank-histogram"] as const) {
    expect(await npib({ estimator }).compareAll?.([], testContext(1))).toBeUndefined();
  }
});
