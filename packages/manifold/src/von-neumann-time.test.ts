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
