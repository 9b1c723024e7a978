import { defineSimilarity, type Matrix, tensor, z } from "@layerfold/core";
import { randomMatrix, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { gaussianMutualInformation } from "./gaussian-mutual-information.js";
import { entropy } from "./kozachenko-leonenko-entropy.js";
import { type KsgOptions, mutualInformation } from "./ksg-mutual-information.js";
import { normalQuantile } from "./normal-quantile.js";
import { permutationTest } from "./permutation-test.js";
import { rankHistogramInformation } from "./rank-histogram.js";
import { subsampleInterval } from "./subsample-interval.js";

/** Gaussians whose coordinates pair up with correlation ρ: I = −d/2 log(1 − ρ²). */
function gaussianPair(
  samples: number,
  dimensions: number,
  rho: number,
  seed: number,
): [Matrix<Float64Array>, Matrix<Float64Array>] {
  const { rng } = testContext(seed);
  const x = randomMatrix(samples, dimensions, rng);
  const noise = randomMatrix(samples, dimensions, rng);
  const y = x.data.map((v, at) => rho * v + Math.sqrt(1 - rho * rho) * noise.data[at]);
  return [x, tensor(y, x.shape)];
}

function meanAndError(values: number[]): [mean: number, error: number] {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1);
  return [mean, Math.sqrt(variance / values.length)];
}

function estimates(
  samples: number,
  dimensions: number,
  rho: number,
  repetitions: number,
  options?: KsgOptions,
): number[] {
  return Array.from({ length: repetitions }, (_, r) =>
    mutualInformation(...gaussianPair(samples, dimensions, rho, 100 * r + samples), options),
  );
}

describe("KSG on Gaussians with known mutual information", () => {
  // Kraskov et al. 2004, fig. 4 and 5 (d = 1, r ≤ 0.9): the bias of either estimator at k ≥ 1 is below 0.02 at n = 200 and vanishes with n.
  it.each([
    [200, 60, 0.02],
    [1000, 20, 0.01],
    [5000, 6, 0.01],
  ])("n = %d: bias within the published one", (samples, repetitions, bias) => {
    for (const estimator of ["ksg1", "ksg2"] as const) {
      for (const rho of [0, 0.6, 0.9]) {
        const [mean, error] = meanAndError(estimates(samples, 1, rho, repetitions, { estimator }));
        expect(Math.abs(mean + Math.log(1 - rho * rho) / 2), `${estimator}, ρ = ${rho}`).toBeLessThan(
          bias + 3 * error,
        );
      }
    }
  });

  it("is unbiased at independence in the plane, and not clamped", () => {
    const values = estimates(400, 2, 0, 40);
    const [mean, error] = meanAndError(values);
    // Kraskov et al. 2004, §III: for independent variables the estimate vanishes on average.
    expect(Math.abs(mean)).toBeLessThan(0.005 + 3 * error);
    expect(Math.min(...values)).toBeLessThan(0);
  });
});

it("the non-uniformity correction recovers strong dependence that plain KSG misses", () => {
  const rho = 0.9999;
  const truth = -Math.log(1 - rho * rho) / 2;
  const [plain] = meanAndError(estimates(200, 1, rho, 10, { neighborCount: 5 }));
  const [corrected] = meanAndError(
    estimates(200, 1, rho, 10, { neighborCount: 5, nonUniformityThreshold: 0.3 }),
  );
  expect(Math.abs(corrected - truth)).toBeLessThan(Math.abs(plain - truth));
  // And leaves independence alone.
  const [independent] = meanAndError(
    estimates(200, 1, 0, 10, { neighborCount: 8, nonUniformityThreshold: 0.1 }),
  );
  expect(Math.abs(independent)).toBeLessThan(0.05);
});

it.each([
  ["uniform on [0, 4]²", 2, (uniform: () => number) => 4 * uniform(), 2 * Math.log(4)],
  ["exponential", 1, (uniform: () => number) => -Math.log(1 - uniform()), 1],
])("entropy, %s", (_, dimensions, draw, truth) => {
  const values = Array.from({ length: 20 }, (_, seed) => {
    const { rng } = testContext(seed);
    return entropy(
      tensor(
        Float64Array.from({ length: 1000 * dimensions }, () => draw(rng.uniform)),
        [1000, dimensions],
      ),
    );
  });
  const [mean, error] = meanAndError(values);
  // Bias from the edges, of the order of the outer cells' share.
  expect(Math.abs(mean - truth)).toBeLessThan(0.05 + 3 * error);
});

it("entropy of Gaussians in 1 … 5 dimensions: d/2 log 2πe", () => {
  for (let d = 1; d <= 5; d++) {
    const values = Array.from({ length: 8 }, (_, seed) =>
      entropy(randomMatrix(2000, d, testContext(seed).rng)),
    );
    const [mean, error] = meanAndError(values);
    expect(Math.abs(mean - (d / 2) * Math.log(2 * Math.PI * Math.E)), `d = ${d}`).toBeLessThan(
      0.03 * d + 3 * error,
    );
  }
});

it("entropy grows by d log c under scaling by c, and refuses duplicates", () => {
  const x = randomMatrix(100, 3, testContext(1).rng);
  const scaled = tensor(
    x.data.map((v) => 8 * v),
    x.shape,
  );
  expect(entropy(scaled) - entropy(x)).toBeCloseTo(3 * Math.log(8), 10);
  const repeated = tensor(
    x.data.map((v, at) => (at < 15 ? x.data[at % 3] : v)),
    x.shape,
  );
  expect(() => entropy(repeated)).toThrow(
    expect.objectContaining({ code: "SAMPLES_COINCIDE", where: "row 0" }),
  );
});

it("Gaussian information is invariant to invertible linear maps", async () => {
  const [x, y] = gaussianPair(80, 2, 0.7, 3);
  const mapped = tensor(
    x.data.map((v, at) => (at % 2 ? v - 2 * x.data[at - 1] : 3 * v + x.data[at + 1])),
    x.shape,
  );
  const ctx = testContext(1);
  expect(await gaussianMutualInformation(mapped, y, ctx)).toBeCloseTo(
    await gaussianMutualInformation(x, y, ctx),
    10,
  );
});

it("the rank histogram of a coordinate with itself has the information log(bins)", () => {
  const x = randomMatrix(64, 1, testContext(1).rng);
  expect(rankHistogramInformation(x, x, testContext(2).rng, { binCount: 8 })).toBeCloseTo(Math.log(8), 12);
});

it("normal quantiles invert the normal distribution", () => {
  // scipy 1.17.1, scipy.stats.norm.ppf
  expect(normalQuantile(0.975)).toBeCloseTo(1.959963984540054, 8);
  expect(normalQuantile(0.5)).toBe(0);
  expect(normalQuantile(0.001)).toBeCloseTo(-3.090232306167813, 8);
  expect(normalQuantile(1e-10)).toBeCloseTo(-6.361340902404056, 7);
});

/** Plain KSG as a measure: continuous, so values do not tie. */
const information = defineSimilarity({
  id: "information",
  summary: "",
  optionsSchema: z.strictObject({}),
  create: () => ({
    traits: { symmetric: true, stochastic: false, range: [-1, 100], invariantTo: [] },
    prepare: (layer: Matrix) => layer,
    compare: (a: Matrix, b: Matrix) => mutualInformation(a, b),
  }),
})();

it("p-values are uniform under independence and small under dependence", async () => {
  const count = 200;
  const pValues: number[] = [];
  for (let seed = 0; seed < count; seed++) {
    const [x, y] = gaussianPair(30, 1, 0, seed + 1);
    pValues.push(
      (await permutationTest(information, x, y, testContext(seed), { permutationCount: 19 })).pValue,
    );
  }
  // Twenty equally likely values k/20: chi-square with 19 degrees of freedom; its 99.9 % quantile is 43.82.
  let chiSquare = 0;
  for (let k = 1; k <= 20; k++) {
    const observed = pValues.filter((p) => Math.round(p * 20) === k).length;
    chiSquare += (observed - count / 20) ** 2 / (count / 20);
  }
  expect(chiSquare).toBeLessThan(43.82);
  const [x, y] = gaussianPair(100, 1, 0.8, 1);
  expect((await permutationTest(information, x, y, testContext(1), { permutationCount: 49 })).pValue).toBe(
    1 / 50,
  );
});

it("the 90 % interval covers the mean estimate nine times out of ten", async () => {
  const repetitions = 100;
  const samples = 200;
  const results = [];
  for (let seed = 0; seed < repetitions; seed++) {
    const [x, y] = gaussianPair(samples, 1, 0.6, seed + 1);
    results.push(
      await subsampleInterval(information, x, y, testContext(seed), { repetitions: 40, level: 0.9 }),
    );
  }
  const [mean] = meanAndError(results.map(({ value }) => value));
  const covered = results.filter(({ low, high }) => low <= mean && mean <= high).length / repetitions;
  // Binomial: 4 standard errors of 3 %, and 40 halves give quantiles to a few percent.
  expect(Math.abs(covered - 0.9)).toBeLessThan(0.12);
});

it("both stop when asked to, and refuse unpaired layers", async () => {
  const [x, y] = gaussianPair(30, 1, 0, 1);
  const aborted = testContext(1, { signal: AbortSignal.abort() });
  await expect(permutationTest(information, x, y, aborted)).rejects.toMatchObject({ code: "INTERRUPTED" });
  await expect(subsampleInterval(information, x, y, aborted)).rejects.toMatchObject({ code: "INTERRUPTED" });
  const [short] = gaussianPair(29, 1, 0, 1);
  await expect(permutationTest(information, x, short, testContext(1))).rejects.toMatchObject({
    code: "SAMPLE_COUNT_MISMATCH",
  });
  await expect(subsampleInterval(information, x, short, testContext(1))).rejects.toMatchObject({
    code: "SAMPLE_COUNT_MISMATCH",
  });
});

it("mutual information refuses what it cannot estimate", () => {
  const [x, y] = gaussianPair(10, 2, 0, 1);
  expect(() => mutualInformation(x, y, { neighborCount: 10 })).toThrow(
    expect.objectContaining({ code: "SAMPLES_TOO_FEW", wanted: "at least 11" }),
  );
  expect(() => mutualInformation(x, y, { neighborCount: 0 })).toThrow(
    expect.objectContaining({ code: "NEIGHBOR_COUNT_INVALID" }),
  );
  expect(() => mutualInformation(x, randomMatrix(11, 2, testContext(1).rng))).toThrow(
    expect.objectContaining({ code: "SAMPLE_COUNT_MISMATCH" }),
  );
  expect(() => mutualInformation(x, tensor(new Float64Array(0), [10, 0]))).toThrow(
    expect.objectContaining({ code: "DIMENSIONS_ZERO" }),
  );
});
