import { testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import { nearestSamples, neighborGrid } from "./neighbor-grid.js";
import type { Points } from "./read-points.js";

/** Points with ties, duplicates and outliers among them. */
const pointSets = fc
  .record({
    count: fc.integer({ min: 8, max: 200 }),
    dimensions: fc.integer({ min: 1, max: 4 }),
    levels: fc.constantFrom(2, 10, 1e9),
    seed: fc.integer(),
  })
  .map(({ count, dimensions, levels, seed }): Points => {
    const { rng } = testContext(seed);
    const values = Float64Array.from({ length: count * dimensions }, () => {
      const value = Math.round(rng.normal() * levels) / levels;
      return rng.uniform() < 0.02 ? value * 1e6 : value;
    });
    return { values, count, dimensions };
  });

function distance(a: Points, i: number, j: number, norm: "maximum" | "euclidean"): number {
  let [largest, squares] = [0, 0];
  for (let c = 0; c < a.dimensions; c++) {
    const gap = Math.abs(a.values[i * a.dimensions + c] - a.values[j * a.dimensions + c]);
    largest = Math.max(largest, gap);
    squares += gap * gap;
  }
  return norm === "maximum" ? largest : Math.sqrt(squares);
}

it("counts what a scan over all samples counts", () => {
  fc.assert(
    fc.property(pointSets, fc.integer(), (points, seed) => {
      const grid = neighborGrid(points);
      const { rng } = testContext(seed);
      for (let repetition = 0; repetition < 20; repetition++) {
        const i = rng.integer(points.count);
        // The distance to another sample is the hardest radius: that sample must be left out, rounding or not.
        for (const radius of [
          distance(points, i, rng.integer(points.count), "maximum"),
          Math.abs(rng.normal()),
        ]) {
          let wanted = 0;
          for (let j = 0; j < points.count; j++) if (distance(points, i, j, "maximum") < radius) wanted++;
          expect(grid.countWithin(i, radius)).toBe(wanted);
        }
      }
    }),
  );
});

it.each(["maximum", "euclidean"] as const)("finds the neighbours that a scan finds, %s norm", (norm) => {
  fc.assert(
    fc.property(pointSets, fc.integer({ min: 1, max: 7 }), (points, neighborCount) => {
      const { distance: got, neighbors } = nearestSamples(
        neighborGrid(points),
        neighborCount,
        norm,
        "neighbors",
      );
      for (let i = 0; i < points.count; i++) {
        const others = Array.from({ length: points.count }, (_, j) => j).filter((j) => j !== i);
        const sorted = others.map((j) => distance(points, i, j, norm)).sort((a, b) => a - b);
        const own = Array.from(neighbors.subarray(i * neighborCount, (i + 1) * neighborCount));
        const near = (a: number, b: number) => Math.abs(a - b) <= 1e-12 * b;
        expect(near(got[i], sorted[neighborCount - 1])).toBe(true);
        expect(new Set(own).size).toBe(neighborCount);
        expect(own).not.toContain(i);
        own.forEach((j, k) => {
          expect(near(distance(points, i, j, norm), sorted[k])).toBe(true);
        });
      }
    }),
    { numRuns: 50 },
  );
});

it("searches the joint space of two point sets", () => {
  fc.assert(
    fc.property(pointSets, fc.integer(), (x, seed) => {
      const { rng } = testContext(seed);
      const y: Points = {
        values: Float64Array.from({ length: 3 * x.count }, rng.normal),
        count: x.count,
        dimensions: 3,
      };
      const joint = (i: number, j: number) =>
        Math.max(distance(x, i, j, "maximum"), distance(y, i, j, "maximum"));
      const { distance: got } = nearestSamples(neighborGrid(x), 3, "maximum", "distance", y);
      for (let i = 0; i < x.count; i++) {
        const sorted = Float64Array.from({ length: x.count }, (_, j) => joint(i, j)).sort();
        expect(got[i]).toBe(sorted[3]);
      }
    }),
    { numRuns: 30 },
  );
});
