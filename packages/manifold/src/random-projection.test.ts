import { portableEngine, seededRng, squaredDistances } from "@layerfold/linalg";
import { embeddingChecks, randomMatrix, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { identity } from "./identity.js";
import { randomProjection } from "./random-projection.js";

const ctx = testContext(1, { engine: portableEngine() });

describe("conformance", () => {
  for (const { name, run } of embeddingChecks(() => randomProjection())) it(`random-projection ${name}`, run);
  for (const { name, run } of embeddingChecks(() => identity())) it(`identity ${name}`, run);
});

it("keeps squared distances on average, within six standard errors of a chi-squared mean", async () => {
  const dimensions = 400;
  const points = randomMatrix(10, 50, seededRng(3));
  const before = await squaredDistances(points, ctx);
  const { coordinates } = await randomProjection({ dimensions }).fit(points, ctx);
  const after = await squaredDistances(coordinates, ctx);
  after.data.forEach((squared, i) => {
    const bound = 6 * Math.sqrt(2 / dimensions) * before.data[i];
    expect(Math.abs(squared - before.data[i])).toBeLessThanOrEqual(bound);
  });
});

it("is linear", async () => {
  const a = randomMatrix(4, 6, seededRng(1));
  const b = randomMatrix(4, 6, seededRng(2));
  const project = async (m: typeof a) => (await randomProjection().fit(m, ctx)).coordinates.data;
  const [pa, pb] = [await project(a), await project(b)];
  const sum = await project({ ...a, data: a.data.map((value, i) => value + b.data[i]) });
  sum.forEach((value, i) => {
    expect(value).toBeCloseTo(pa[i] + pb[i], 12);
  });
});
