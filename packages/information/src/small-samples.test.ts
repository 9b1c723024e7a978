import { defineSimilarity, type Matrix, tensor, z } from "@layerfold/core";
import { quantile } from "@layerfold/linalg";
import { randomMatrix, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { digammaTable } from "./digamma.js";
import { nonUniformityCorrection } from "./non-uniformity-correction.js";
import { permutationTest } from "./permutation-test.js";
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
    compare: (a: Matrix, b: Matrix) => a.data.reduce((sum, x, i) => sum + x * b.data[i], 0),
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
