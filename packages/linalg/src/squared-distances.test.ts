import { type Diagnostic, type Matrix, tensor } from "@layerfold/core";
import { randomMatrix, testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nearestNeighbors } from "./nearest-neighbors.js";
import { portableEngine } from "./portable-engine.js";
import { seededRng } from "./seeded-rng.js";
import { squaredDistances, squaredDistancesTo } from "./squared-distances.js";

const ctx = testContext(1, { engine: portableEngine() });

/** ‖x − y‖² by the definition, in float64. */
function definition(a: Matrix, b: Matrix): Float64Array {
  const [m, columns] = a.shape;
  const n = b.shape[0];
  return Float64Array.from({ length: m * n }, (_, index) => {
    let sum = 0;
    for (let k = 0; k < columns; k++) {
      sum += (a.data[Math.floor(index / n) * columns + k] - b.data[(index % n) * columns + k]) ** 2;
    }
    return sum;
  });
}

/** Points far from the origin, with a duplicate and a near-duplicate of the first one. */
function hardPoints(
  rows: number,
  columns: number,
  offset: number,
  seed: number,
  dtype: "float32" | "float64",
) {
  const points: Matrix = randomMatrix<"float32" | "float64">(rows, columns, seededRng(seed), dtype);
  for (let i = 0; i < points.data.length; i++) points.data[i] += offset * (1 + (i % columns));
  points.data.copyWithin(columns, 0, columns);
  points.data.copyWithin(2 * columns, 0, columns);
  points.data[2 * columns] *= 1 + 2 ** -20;
  return points;
}

// The error bounds that the code promises: 1e-4 for float32, 1e-9 for float64.
describe.each([
  { dtype: "float32", relative: 3e-4 },
  { dtype: "float64", relative: 1e-9 },
] as const)("$dtype", ({ dtype, relative }) => {
  it("equals the definition, far from the origin and for near-duplicates too", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 3, max: 90 }),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(),
        async (rows, columns, seed) => {
          const points = hardPoints(rows, columns, 1200, seed, dtype);
          const queries = hardPoints(4, columns, 1200, seed + 1, dtype);
          const all = await squaredDistances(points, ctx);
          const cross = await squaredDistancesTo(points)(queries, ctx);
          for (const [got, wanted] of [
            [all.data, definition(points, points)],
            [cross.data, definition(queries, points)],
          ] as const) {
            wanted.forEach((value, i) => {
              expect(Math.abs(got[i] - value)).toBeLessThanOrEqual(relative * value);
            });
          }
          for (let i = 0; i < rows; i++) {
            expect(all.data[i * rows + i]).toBe(0);
            for (let j = 0; j < i; j++) expect(all.data[i * rows + j]).toBe(all.data[j * rows + i]);
          }
        },
      ),
      { numRuns: 40 },
    );
  });
});

it("repeats in float64 when most pairs are close, and says so", async () => {
  const points = randomMatrix(100, 30, seededRng(4), "float32");
  // Two tight clusters far apart: half of the pairs are close beside their norms.
  for (let i = 0; i < points.data.length; i++) points.data[i] += i < points.data.length / 2 ? 900 : -900;
  const reports: Diagnostic[] = [];
  const voiced = {
    ...ctx,
    report: (event: Diagnostic | { type: "progress" }) => event.type === "diagnostic" && reports.push(event),
  };
  const wanted = definition(points, points);
  const all = await squaredDistances(points, voiced as typeof ctx);
  const cross = await squaredDistancesTo(points)(points, voiced as typeof ctx);
  wanted.forEach((value, i) => {
    expect(Math.abs(all.data[i] - value)).toBeLessThanOrEqual(3e-4 * value);
    expect(Math.abs(cross.data[i] - value)).toBeLessThanOrEqual(3e-4 * value);
  });
  expect(reports.map((report) => report.code)).toEqual(["DISTANCES_FLOAT64", "DISTANCES_FLOAT64"]);
});

it("names the row that is not finite", async () => {
  const points = randomMatrix(5, 3, seededRng(1), "float32");
  points.data[3 * 3 + 1] = Number.POSITIVE_INFINITY;
  await expect(squaredDistances(points, ctx)).rejects.toMatchObject({
    code: "POINTS_NOT_FINITE",
    where: "row 3",
  });
  points.data[3 * 3 + 1] = 0;
  const toPoints = squaredDistancesTo(points);
  const queries: Matrix = tensor(Float32Array.of(0, 0, 0, 0, Number.NaN, 0), [2, 3]);
  await expect(toPoints(queries, ctx)).rejects.toMatchObject({ code: "POINTS_NOT_FINITE", where: "row 1" });
  await expect(toPoints(tensor(new Float32Array(4), [2, 2]), ctx)).rejects.toMatchObject({
    code: "TENSOR_SHAPE",
  });
});

describe("nearestNeighbors", () => {
  it("finds what sorting all distances finds", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 40 }), fc.nat(), async (rows, seed) => {
        const points = randomMatrix(rows, 3, seededRng(seed));
        const count = 1 + (seed % (rows - 1));
        const squared = definition(points, points);
        const { indices } = await nearestNeighbors(points, count, ctx);
        const withSelf = await nearestNeighbors(points, count, ctx, points);
        for (let i = 0; i < rows; i++) {
          const order = Array.from({ length: rows }, (_, j) => j).sort(
            (a, b) => squared[i * rows + a] - squared[i * rows + b],
          );
          const found = (list: Int32Array) => [...list.subarray(i * count, (i + 1) * count)];
          expect(found(indices)).toEqual(order.filter((j) => j !== i).slice(0, count));
          expect(found(withSelf.indices)).toEqual(order.slice(0, count));
        }
      }),
      { numRuns: 30 },
    );
  });

  it("refuses fewer samples than neighbours + 1", async () => {
    const points = randomMatrix(3, 2, seededRng(1));
    await expect(nearestNeighbors(points, 3, ctx)).rejects.toMatchObject({ code: "SAMPLES_TOO_FEW" });
  });
});
