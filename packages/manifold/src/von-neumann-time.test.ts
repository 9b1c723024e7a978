import { tensor } from "@layerfold/core";
import { portableEngine, symmetricEigen } from "@layerfold/linalg";
import { randomMatrix, testContext } from "@layerfold/testkit";
import { expect, it } from "vitest";
import { affinityGraph } from "./affinity-graph.js";
import { markovChain } from "./markov-spectrum.js";
import { kneeIndex, vonNeumannEntropies } from "./von-neumann-time.js";

const ctx = testContext(1, { engine: portableEngine() });

it("finds the corner of two straight lines", () => {
  for (const corner of [3, 10, 30]) {
    const curve = Float64Array.from({ length: 50 }, (_, i) =>
      i < corner ? 5 - 0.1 * i : 5 - 0.1 * corner - 0.001 * (i - corner),
    );
    expect(kneeIndex(curve)).toBe(corner);
  }
});

it.each(["mka", "gaussian"] as const)(
  "estimates the entropies of a large spectrum within one percent of log n, %s",
  async (kernel) => {
    const size = 300;
    const points = randomMatrix(size, 3, testContext(2).rng);
    const graph = await affinityGraph(points, { kernel, bandwidth: "median", neighborCount: 1 }, ctx);
    const chain = markovChain(graph.affinity, 0.5);
    const identity = tensor(
      Float64Array.from({ length: size * size }, (_, i) => Number(i % (size + 1) === 0)),
      [size, size],
    );
    const { values } = symmetricEigen(await chain.operator.apply(identity));
    const estimated = await vonNeumannEntropies(chain, 20, ctx);
    estimated.forEach((entropy, index) => {
      const powers = values.map((value) => Math.abs(value) ** (index + 1));
      const total = powers.reduce((sum, power) => sum + power, 0);
      const exact = -powers.reduce(
        (sum, power) => sum + (power > 0 ? (power / total) * Math.log(power / total) : 0),
        0,
      );
      expect(Math.abs(entropy - exact)).toBeLessThanOrEqual(0.01 * Math.log(size));
    });
  },
);

it("is exact for 256 points, and at most that many", async () => {
  // Evenly spaced points on a circle: K is circulant, so the eigenvalues of the walk are the Fourier sums of a row over its sum.
  const size = 256;
  const angle = (i: number) => (2 * Math.PI * i) / size;
  const points = tensor(
    Float64Array.from({ length: 2 * size }, (_, i) => (i % 2 ? Math.sin : Math.cos)(angle(i >> 1))),
    [size, 2],
  );
  const graph = await affinityGraph(points, { kernel: "gaussian", bandwidth: 0.01, neighborCount: 1 }, ctx);
  const row = Array.from({ length: size }, (_, j) => Math.exp(-(4 * Math.sin(angle(j) / 2) ** 2) / 0.01));
  const sum = row.reduce((total, value) => total + value, 0);
  const spectrum = row.map(
    (_, k) => row.reduce((s, value, j) => s + value * Math.cos(angle(j * k)), 0) / sum,
  );
  const entropies = await vonNeumannEntropies(markovChain(graph.affinity, 0.5), 5, ctx);
  entropies.forEach((entropy, index) => {
    const powers = spectrum.map((value) => Math.abs(value) ** (index + 1));
    const total = powers.reduce((s, power) => s + power, 0);
    const exact = powers.reduce(
      (s, power) => s - (power > 0 ? (power / total) * Math.log(power / total) : 0),
      0,
    );
    expect(entropy).toBeCloseTo(exact, 9);
  });
});
