import { type Matrix, tensor } from "@layerfold/core";
import { randomMatrix, testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cholesky, choleskySolve, solveTriangular, symmetricInverse, triangularInverse } from "./cholesky.js";
import { portableEngine } from "./portable-engine.js";
import { ridgeLeastSquares } from "./ridge.js";
import { seededRng } from "./seeded-rng.js";
import { symmetricFrom } from "./symmetric-tiles.js";

const ctx = testContext(1, { engine: portableEngine() });
// Around the base size of 64 and its multiples.
const sizes = fc.oneof(
  fc.integer({ min: 1, max: 8 }),
  fc.integer({ min: 60, max: 70 }),
  fc.integer({ min: 120, max: 150 }),
);

// Around the number from which triangles are inverted.
const columnCounts = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 125, max: 132 }));

/** BᵀB/n + I/2: positive definite, condition number below about 10. */
async function positiveDefinite(size: number, seed: number): Promise<Matrix<Float64Array>> {
  const b = randomMatrix(size, size, seededRng(seed));
  const gram = await ctx.engine.matmul(b, b, { transposeA: true });
  for (let i = 0; i < gram.data.length; i++)
    gram.data[i] = gram.data[i] / size + (i % (size + 1) === 0 ? 0.5 : 0);
  return gram;
}

function expectClose(got: Matrix, wanted: Matrix, bound = 1e-11) {
  expect(got.shape).toEqual(wanted.shape);
  got.data.forEach((value, i) => {
    expect(Math.abs(value - wanted.data[i])).toBeLessThanOrEqual(bound);
  });
}

describe("cholesky", () => {
  it("gives a lower triangle whose square is the matrix, and solves with it", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, columnCounts, fc.nat(), async (size, columns, seed) => {
        const a = await positiveDefinite(size, seed);
        const copy = a.data.slice();
        const lower = await cholesky(a, ctx);
        for (let i = 0; i < size; i++) {
          for (let j = i + 1; j < size; j++) expect(lower.data[i * size + j]).toBe(0);
        }
        expectClose(await ctx.engine.matmul(lower, lower, { transposeB: true }), a);
        const x = randomMatrix(size, columns, seededRng(seed + 1));
        expectClose(await choleskySolve(lower, await ctx.engine.matmul(a, x), ctx), x);
        expectClose(await solveTriangular(lower, await ctx.engine.matmul(lower, x), ctx), x);
        const transposed = await ctx.engine.matmul(lower, x, { transposeA: true });
        expectClose(await solveTriangular(lower, transposed, ctx, { transpose: true }), x);
        const unit = await ctx.engine.matmul(lower, await triangularInverse(lower, ctx));
        unit.data.forEach((value, i) => {
          expect(Math.abs(value - Number(i % (size + 1) === 0))).toBeLessThanOrEqual(1e-11);
        });
        const inverse = await symmetricInverse(a, ctx);
        const product = await ctx.engine.matmul(a, inverse);
        product.data.forEach((value, i) => {
          expect(Math.abs(value - Number(i % (size + 1) === 0))).toBeLessThanOrEqual(1e-11);
        });
        expect(a.data).toEqual(copy);
      }),
      { numRuns: 8 },
    );
  });

  it("names the pivot at which a matrix stops being positive definite", async () => {
    const size = 100;
    const a = await positiveDefinite(size, 1);
    a.data[70 * size + 70] = -1;
    await expect(cholesky(a, ctx)).rejects.toMatchObject({
      code: "MATRIX_NOT_POSITIVE_DEFINITE",
      where: "row 70",
    });
    await expect(cholesky(tensor(new Float64Array(6), [2, 3]), ctx)).rejects.toMatchObject({
      code: "TENSOR_SHAPE",
    });
  });

  it("refuses a right-hand side of another height", async () => {
    const lower = await cholesky(await positiveDefinite(4, 1), ctx);
    const wrong = randomMatrix(5, 1, seededRng(1));
    await expect(choleskySolve(lower, wrong, ctx)).rejects.toMatchObject({ code: "TENSOR_SHAPE" });
    await expect(solveTriangular(lower, wrong, ctx)).rejects.toMatchObject({ code: "TENSOR_SHAPE" });
  });
});

describe("ridgeLeastSquares", () => {
  it("satisfies its normal equations: AᵀA·W + λW = AᵀT + λW₀, λ = ridge · mean diagonal", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 6 }),
        fc.double({ min: 1e-4, max: 1, noNaN: true }),
        fc.nat(),
        async (features, ridge, seed) => {
          const rng = seededRng(seed);
          const a = randomMatrix(12, features, rng);
          const t = randomMatrix(12, 2, rng);
          const prior = randomMatrix(features, 2, rng);
          const gram = await ctx.engine.matmul(a, a, { transposeA: true });
          const cross = await ctx.engine.matmul(a, t, { transposeA: true });
          const w = await ridgeLeastSquares({ gram: symmetricFrom(gram), cross, ridge, prior }, ctx);
          let lambda = 0;
          for (let i = 0; i < features; i++) lambda += (ridge * gram.data[i * features + i]) / features;
          const image = await ctx.engine.matmul(gram, w);
          image.data.forEach((value, i) => {
            const wanted = cross.data[i] + lambda * (prior.data[i] - w.data[i]);
            expect(Math.abs(value - wanted)).toBeLessThanOrEqual(1e-10);
          });
        },
      ),
      { numRuns: 50 },
    );
  });

  it("recovers an exact linear map without a ridge", async () => {
    const a = randomMatrix(30, 5, seededRng(2));
    const map = randomMatrix(5, 3, seededRng(3));
    const targets = await ctx.engine.matmul(a, map);
    const gram = await ctx.engine.matmul(a, a, { transposeA: true });
    const cross = await ctx.engine.matmul(a, targets, { transposeA: true });
    expectClose(await ridgeLeastSquares({ gram: symmetricFrom(gram), cross, ridge: 0 }, ctx), map);
  });
});
