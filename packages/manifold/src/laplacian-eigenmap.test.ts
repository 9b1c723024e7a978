import { tensor } from "@layerfold/core";
import { portableEngine } from "@layerfold/linalg";
import { embeddingChecks, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { laplacianEigenmap } from "./laplacian-eigenmap.js";

describe("conformance", () => {
  for (const { name, run } of embeddingChecks(() => laplacianEigenmap())) it(name, run);
});

it("knows the eigenvalues of a ring: (1 + 2w cos(2πk/n)) / (1 + 2w), w = 1/e", async () => {
  const count = 30;
  const ring = Array.from({ length: count }, (_, i) => [(2 * Math.PI * i) / count]).flatMap(([a]) => [
    Math.cos(a),
    Math.sin(a),
  ]);
  const { eigenvalues } = await laplacianEigenmap({ graphNeighborCount: 2, dimensions: 4 }).fit(
    tensor(Float64Array.from(ring), [count, 2]),
    testContext(1, { engine: portableEngine() }),
  );
  [0, 1, 1, 2, 2, 3].forEach((k, at) => {
    const wanted = (1 + (2 / Math.E) * Math.cos((2 * Math.PI * k) / count)) / (1 + 2 / Math.E);
    expect(eigenvalues?.[at]).toBeCloseTo(wanted, 10);
  });
});
