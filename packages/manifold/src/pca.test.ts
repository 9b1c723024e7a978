import { type Diagnostic, tensor } from "@layerfold/core";
import { portableEngine, seededRng, squaredDistances } from "@layerfold/linalg";
import { embeddingChecks, randomMatrix, testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pca } from "./pca.js";

const ctx = testContext(1, { engine: portableEngine() });

describe("conformance", () => {
  for (const { name, run } of embeddingChecks(() => pca({ dimensions: 3 }))) it(name, run);
});

it("keeps all distances when it keeps all directions, with more samples or more features", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 3, max: 12 }),
      fc.integer({ min: 1, max: 12 }),
      fc.nat(),
      async (rows, columns, seed) => {
        const points = randomMatrix(rows, columns, seededRng(seed));
        const { coordinates } = await pca({ dimensions: Math.min(rows - 1, columns) }).fit(points, ctx);
        const wanted = await squaredDistances(points, ctx);
        (await squaredDistances(coordinates, ctx)).data.forEach((squared, i) => {
          expect(Math.abs(squared - wanted.data[i])).toBeLessThanOrEqual(1e-9 * (1 + wanted.data[i]));
        });
      },
    ),
    { numRuns: 30 },
  );
});

it.each([
  { rows: 300, columns: 200 },
  { rows: 200, columns: 300 },
])(
  "finds the variances of $rows × $columns by the covariance's own trace and equations",
  async ({ rows, columns }) => {
    const points = randomMatrix(rows, columns, seededRng(4));
    for (let at = 0; at < points.data.length; at++) points.data[at] *= 1 / (1 + (at % columns));
    const { coordinates, eigenvalues = new Float64Array() } = await pca({ dimensions: 4 }).fit(points, ctx);
    // Coordinates are uncorrelated, and the variance of each is its eigenvalue.
    const gram = await ctx.engine.matmul(coordinates, coordinates, { transposeA: true });
    gram.data.forEach((value, at) => {
      const wanted = at % 5 === 0 ? eigenvalues[at / 5] : 0;
      expect(Math.abs(value / (rows - 1) - wanted)).toBeLessThanOrEqual(1e-9 * eigenvalues[0]);
    });
  },
);

it("reports directions without variance", async () => {
  const reports: Diagnostic[] = [];
  const flat = tensor(Float64Array.of(1, 2, 2, 4, 3, 6, 5, 10), [4, 2]);
  const { coordinates } = await pca().fit(flat, {
    ...ctx,
    report: (event) => event.type === "diagnostic" && reports.push(event),
  });
  expect(reports.map(({ code }) => code)).toEqual(["COMPONENTS_WITHOUT_VARIANCE"]);
  expect(Array.from(coordinates.data.filter((_, at) => at % 2 === 1))).toEqual([0, 0, 0, 0]);
});

it("refuses more dimensions than there are, and samples that coincide", async () => {
  await expect(pca({ dimensions: 3 }).fit(randomMatrix(3, 5, seededRng(1)), ctx)).rejects.toMatchObject({
    code: "DIMENSIONS_TOO_MANY",
  });
  await expect(pca().fit(tensor(new Float64Array(8).fill(2), [4, 2]), ctx)).rejects.toMatchObject({
    code: "POINTS_IDENTICAL",
  });
});
