import { type Matrix, tensor } from "@layerfold/core";
import { randomMatrix, similarityMeasureChecks, testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mkaReleasedCode } from "./mka-released-code.js";
import { npib } from "./npib.js";
import { rankHistogram } from "./rank-histogram.js";
import { readPoints } from "./read-points.js";

describe.each([
  {},
  { estimator: "ksg2" },
  { estimator: "gaussian" },
  { estimator: "univariate" },
  { estimator: "rank-histogram" },
  { normalization: "geometric-entropy" },
  { margins: "raw" },
  { nonUniformityThreshold: 0.5, neighborCount: 8 },
] as const)("npib with %o", (options) => {
  // Normal scores of any two layers are the same numbers, so distances tie, and ksg2 takes those of equally near neighbours that come
  // first: another order of the samples moves it by 1e-4.
  const orderFree = !("estimator" in options && options.estimator === "ksg2");
  const checks = similarityMeasureChecks(() => npib(options), { samples: 150, features: 2, orderFree });
  for (const { name, run } of checks) it(name, run);
});

describe("mka-released-code", () => {
  // Ties among ranks are broken by noise: a value moves by a hundredth when the noise is drawn in another order.
  const checks = similarityMeasureChecks(() => mkaReleasedCode(), {
    samples: 150,
    features: 2,
    tolerance: 0.03,
  });
  for (const { name, run } of checks) it(name, run);
});

const ctx = testContext(1);
type Options = Parameters<typeof npib>[0];

async function value(a: Matrix, b: Matrix, options?: Options, seed = 1): Promise<number> {
  const measure = npib(options);
  const draw = (label: string) => ({ ...ctx, rng: testContext(seed).rng.fork(label) });
  return measure.compare(await measure.prepare(a, draw("a")), await measure.prepare(b, draw("b")), ctx);
}

it("is 1 for a layer with itself and within [0, 1] for any other, whatever the options", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer(),
      fc.integer({ min: 9, max: 60 }),
      fc.integer({ min: 1, max: 3 }),
      fc.constantFrom<Options>(
        {},
        { estimator: "ksg2" },
        { estimator: "univariate" },
        { normalization: "geometric-entropy" },
      ),
      async (seed, samples, features, options) => {
        const { rng } = testContext(seed);
        const x = randomMatrix(samples, features, rng);
        const y = randomMatrix(samples, 4 - features, rng);
        expect(await value(x, tensor(x.data.slice(), x.shape), options)).toBe(1);
        const other = await value(x, y, options);
        expect(other).toBeGreaterThanOrEqual(0);
        expect(other).toBeLessThanOrEqual(1);
        // Only bins can know all of one another: few samples in many bins.
        const determined = options?.normalization === "geometric-entropy" && sameCells(x, y);
        expect(other < 1).toBe(!determined);
      },
    ),
    {
      numRuns: 60,
      examples: [
        [1143837760, 11, 2, { normalization: "geometric-entropy" }],
        [-868831284, 60, 2, { normalization: "geometric-entropy" }],
      ],
    },
  );
});

/** Whether the binned cells of two layers without equal values map one to one. */
function sameCells(x: Matrix, y: Matrix): boolean {
  const cellsOf = (layer: Matrix) => rankHistogram(readPoints(layer, 4), 4, testContext(0).rng);
  const [a, b] = [cellsOf(x), cellsOf(y)];
  const joint = new Set(Array.from(a.cell, (cell, i) => `${cell},${b.cell[i]}`));
  return joint.size === a.cellCount && joint.size === b.cellCount;
}

it("does not change when a coordinate is mapped monotonically", async () => {
  const { rng } = testContext(4);
  const x = randomMatrix(200, 2, rng);
  const y = tensor(
    x.data.map((v) => v + rng.normal()),
    x.shape,
  );
  const bent = tensor(
    x.data.map((v) => Math.exp(3 * v)),
    x.shape,
  );
  for (const options of [{}, { normalization: "geometric-entropy" }] as const) {
    expect(await value(bent, y, options)).toBe(await value(x, y, options));
  }
});

it("in one dimension the Gaussian form is the correlation of the normal scores", async () => {
  const { rng } = testContext(5);
  const x = randomMatrix(100, 1, rng);
  const y = tensor(
    x.data.map((v) => -v + 0.5 * rng.normal()),
    x.shape,
  );
  // Already Gaussian: raw margins. |r| by Linfoot's identity.
  const mean = (v: Float64Array) => v.reduce((s, e) => s + e, 0) / v.length;
  const centered = (v: Float64Array) => v.map((e) => e - mean(v));
  const [a, b] = [centered(x.data), centered(y.data)];
  const dot = (u: Float64Array, v: Float64Array) => u.reduce((s, e, i) => s + e * v[i], 0);
  const r = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  expect(await value(x, y, { estimator: "gaussian", margins: "raw" })).toBeCloseTo(Math.abs(r), 12);
});

it("copes with constant and repeated coordinates by ranks drawn from ctx.rng", async () => {
  const { rng } = testContext(6);
  const constant = tensor(new Float64Array(200), [100, 2]);
  const binary = tensor(
    Float64Array.from({ length: 200 }, () => rng.integer(2)),
    [100, 2],
  );
  for (const layer of [constant, binary]) {
    const got = await value(layer, randomMatrix(100, 2, rng));
    // Nothing in common: the estimate stays within noise, sqrt(1 − exp(−2·0.15)).
    expect(got).toBeLessThan(0.51);
    expect(await value(layer, randomMatrix(100, 2, testContext(7).rng), {}, 3)).toBe(
      await value(layer, randomMatrix(100, 2, testContext(7).rng), {}, 3),
    );
  }
});

it("refuses fewer samples than neighbours + 1, and rows that are not finite", async () => {
  const { rng } = testContext(8);
  await expect(value(randomMatrix(5, 2, rng), randomMatrix(5, 2, rng))).rejects.toMatchObject({
    code: "SAMPLES_TOO_FEW",
    wanted: "at least 6",
  });
  await expect(value(randomMatrix(10, 10, rng), randomMatrix(10, 10, rng))).rejects.toMatchObject({
    code: "DIMENSIONS_TOO_MANY",
  });
  const broken = randomMatrix(20, 2, rng);
  broken.data[7] = Number.POSITIVE_INFINITY;
  await expect(value(broken, randomMatrix(20, 2, rng))).rejects.toMatchObject({
    code: "POINTS_NOT_FINITE",
    where: "row 3",
  });
  const constant = tensor(new Float64Array(40), [20, 2]);
  await expect(
    value(constant, randomMatrix(20, 2, rng), { estimator: "gaussian", margins: "raw" }),
  ).rejects.toMatchObject({
    code: "MATRIX_NOT_POSITIVE_DEFINITE",
  });
});

it("divides by the geometric mean of two entropies, as MKA writes it", async () => {
  // 16 samples at the points of a 4 × 4 grid, one in each of y's 16 cells; x is one of its coordinates, in 4 bins of 4 samples. So
  // H(X) = log 4, H(Y) = log 16, and as y tells x, I = H(X): log 4 / √(log 4 · log 16) = 1/√2.
  const grid = Array.from({ length: 16 }, (_, i) => [i >> 2, i % 4]);
  // Steps within a bin keep ranks apart without leaving it.
  const x = tensor(
    Float64Array.from(grid, ([row], i) => row + i / 100),
    [16, 1],
  );
  const y = tensor(
    Float64Array.from(grid.flatMap(([row, column], i) => [row + i / 100, column + i / 100])),
    [16, 2],
  );
  const options = { normalization: "geometric-entropy", binCount: 4 } as const;
  expect(await value(x, y, options)).toBeCloseTo(Math.SQRT1_2, 12);
  expect(await value(y, x, options)).toBeCloseTo(Math.SQRT1_2, 12);
});
