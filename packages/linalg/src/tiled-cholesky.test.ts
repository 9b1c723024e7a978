import { contiguousData, type Matrix, submatrix, tensor } from "@layerfold/core";
import { randomMatrix, testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cholesky, choleskySolve, solveTriangular, symmetricInverse } from "./cholesky.js";
import { portableEngine } from "./portable-engine.js";
import { seededRng } from "./seeded-rng.js";
import {
  addSymmetric,
  addToDiagonal,
  type SymmetricTiles,
  symmetricCopy,
  symmetricDiagonal,
  symmetricFrom,
  symmetricMap,
  symmetricPart,
  symmetricPrincipal,
  symmetricZeros,
} from "./symmetric-tiles.js";
import { symmetricWithout } from "./symmetric-without.js";
import {
  addSymmetricGram,
  symmetricProduct,
  tiledCholesky,
  tiledInverse,
  tiledSolve,
} from "./tiled-cholesky.js";

const ctx = testContext(1, { engine: portableEngine() });

type Float64Matrix = Matrix<Float64Array>;

const all = (size: number) => Array.from({ length: size }, (_, i) => i);

function whole(matrix: SymmetricTiles): Float64Matrix {
  return symmetricPart(matrix, all(matrix.size), all(matrix.size));
}

/** The factor that its tiles stand for: those on the diagonal hold inverses. */
async function triangle(factored: SymmetricTiles): Promise<Float64Matrix> {
  const matrix = whole(factored);
  const { size, tile } = factored;
  for (let i = 0; i < size; i++) matrix.data.fill(0, i * size + i + 1, (i + 1) * size);
  for (let start = 0; start < size; start += tile) {
    const count = Math.min(tile, size - start);
    const block = submatrix(matrix, start, start, count, count);
    const identity = tensor(new Float64Array(count * count), [count, count]) as Float64Matrix;
    for (let k = 0; k < count; k++) identity.data[k * (count + 1)] = 1;
    const inverse = tensor(contiguousData(block).slice(), [count, count]) as Float64Matrix;
    const { data } = await solveTriangular(inverse, identity, ctx);
    for (let r = 0; r < count; r++) {
      matrix.data.set(data.subarray(r * count, (r + 1) * count), (start + r) * size + start);
    }
  }
  return matrix;
}

/** BᵀB/n + I/2: positive definite, condition number below about 10. */
async function positiveDefinite(size: number, seed: number): Promise<Float64Matrix> {
  const b = randomMatrix(size, size, seededRng(seed));
  const { data } = await ctx.engine.matmul(b, b, { transposeA: true });
  return tensor(
    data.map((value, i) => value / size + (i % (size + 1) === 0 ? 0.5 : 0)),
    [size, size],
  );
}

function expectClose(got: Matrix, wanted: Matrix, bound: number) {
  expect(got.shape).toEqual(wanted.shape);
  for (let i = 0; i < wanted.data.length; i++) {
    expect(Math.abs(got.data[i] - wanted.data[i])).toBeLessThanOrEqual(bound);
  }
}

const in32 = (matrix: Matrix): Matrix => tensor(Float32Array.from(matrix.data), matrix.shape) as Matrix;

/** Sizes around multiples of the tiles', and tiles that are many or one. */
const problems = fc.record({
  size: fc.integer({ min: 1, max: 40 }),
  tile: fc.constantFrom(1, 7, 16, 64),
  columns: fc.integer({ min: 1, max: 5 }),
  seed: fc.nat(),
  single: fc.boolean(),
});

describe("a symmetric matrix in tiles", () => {
  it("factors, solves, inverts and multiplies as the whole matrix does, float32 to its own precision", async () => {
    await fc.assert(
      fc.asyncProperty(problems, async ({ size, tile, columns, seed, single }) => {
        const bound = single ? 1e-5 : 1e-12;
        const as = (matrix: Matrix) => (single ? in32(matrix) : matrix);
        const given = as(await positiveDefinite(size, seed));
        const dense = tensor(Float64Array.from(given.data), given.shape) as Float64Matrix;
        const tiles = symmetricFrom(given, tile);
        expect(whole(tiles).data).toEqual(dense.data);
        const right = randomMatrix(size, columns, seededRng(seed + 1));

        const product = await symmetricProduct(tiles, as(right), ctx);
        expectClose(product, await ctx.engine.matmul(dense, right), 10 * bound);

        await tiledCholesky(tiles, ctx);
        const lower = await cholesky(dense, ctx);
        expectClose(await triangle(tiles), lower, 10 * bound);
        const solution = tensor(as(right).data.slice(), right.shape) as Matrix;
        await tiledSolve(tiles, solution, ctx);
        expectClose(solution, await choleskySolve(lower, right, ctx), 10 * bound);

        await tiledInverse(tiles, ctx);
        const inverse = whole(tiles);
        expectClose(inverse, await symmetricInverse(dense, ctx), 10 * bound);
        // The upper half of the tiles on the diagonal too.
        for (const i of all(size))
          expect(symmetricPart(tiles, [i], all(size)).data).toEqual(
            symmetricPart(tiles, all(size), [i]).data,
          );
      }),
      { numRuns: 60 },
    );
  });

  it("leaves, where unknowns go, the inverse and the solution of the others alone", async () => {
    const cases = problems.chain((problem) =>
      fc.record({
        problem: fc.constant({ ...problem, size: problem.size + 1 }),
        gone: fc.subarray(all(problem.size + 1), { minLength: 1, maxLength: problem.size }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(cases, async ({ problem: { size, tile, columns, seed, single }, gone }) => {
        const bound = single ? 1e-4 : 1e-11;
        const dense = await positiveDefinite(size, seed);
        const right = randomMatrix(size, columns, seededRng(seed + 1));
        const inverse = await symmetricInverse(dense, ctx);
        const solution = await ctx.engine.matmul(inverse, right);
        const [h, w] = single ? [in32(inverse), in32(solution)] : [inverse, solution];
        const rest = await symmetricWithout(symmetricFrom(h, tile), w, gone, ctx);
        const stay = all(size).filter((i) => !gone.includes(i));
        const wanted = await symmetricInverse(symmetricPart(symmetricFrom(dense), stay, stay), ctx);
        expectClose(whole(rest.inverse), wanted, bound);
        const rows = tensor(
          Float64Array.from(stay.flatMap((i) => [...right.data.subarray(i * columns, (i + 1) * columns)])),
          [stay.length, columns],
        ) as Float64Matrix;
        expectClose(rest.weights, await ctx.engine.matmul(wanted, rows), bound);
      }),
      { numRuns: 60 },
    );
  });

  it("gathers a Gram in either dtype, symmetric to the last bit", async () => {
    const size = 37;
    // Products of small integers are exact in float32.
    const rows = tensor(
      Float32Array.from({ length: 6 * size }, (_, i) => ((i * 7) % 11) - 5),
      [6, size],
    ) as Matrix;
    const { data } = await ctx.engine.matmul(rows, rows, { transposeA: true });
    for (const dtype of ["float32", "float64"] as const) {
      const sum = symmetricZeros(size, dtype, 16);
      await addSymmetricGram(sum, rows, ctx);
      await addSymmetricGram(sum, rows, ctx);
      expect(whole(sum).data).toEqual(Float64Array.from(data, (value) => 2 * value));
    }
  });

  it("is read, summed and changed as the whole would be", async () => {
    const size = 20;
    const dense = await positiveDefinite(size, 3);
    const tiles = symmetricFrom(dense, 6);
    const order = [19, 0, 7, 6, 13, 5];
    const some = order.map((i) => order.map((j) => dense.data[i * size + j]));
    expect([...symmetricPart(tiles, order, order).data]).toEqual(some.flat());
    expect([...whole(symmetricPrincipal(tiles, order)).data]).toEqual(some.flat());
    expect([...symmetricDiagonal(tiles)]).toEqual(all(size).map((i) => dense.data[i * (size + 1)]));
    const copy = symmetricCopy(tiles);
    addSymmetric(copy, tiles);
    addToDiagonal(copy, 3);
    const changed = symmetricMap(tiles, (value, i, j) => 2 * value + (i === j ? 3 : 0));
    expect(whole(copy).data).toEqual(whole(changed).data);
    expect(whole(tiles).data).toEqual(dense.data);
  });

  it("takes half of the memory of the whole, and half a row of tiles", () => {
    const values = (size: number, tile: number) =>
      symmetricZeros(size, "float32", tile).tiles.reduce((sum, { length }) => sum + length, 0);
    expect(values(96, 8)).toBe((96 * (96 + 8)) / 2);
  });

  it("names the pivot at which it stops being positive definite, and a right-hand side of another height", async () => {
    const size = 30;
    const dense = await positiveDefinite(size, 1);
    dense.data[23 * size + 23] = -1;
    await expect(tiledCholesky(symmetricFrom(dense, 8), ctx)).rejects.toMatchObject({
      code: "MATRIX_NOT_POSITIVE_DEFINITE",
      where: "row 23",
    });
    const right = randomMatrix(size + 1, 1, seededRng(1));
    await expect(tiledSolve(symmetricFrom(dense, 8), right, ctx)).rejects.toMatchObject({
      code: "TENSOR_SHAPE",
    });
  });
});
