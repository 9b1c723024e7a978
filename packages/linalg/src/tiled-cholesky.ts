import {
  contiguousData,
  type Floats,
  type Matrix,
  type RunContext,
  submatrix,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { factorInPlace, invertTriangle } from "./cholesky.js";
import { sumProducts } from "./sum-products.js";
import { rowsBeside, type SymmetricTiles, tileAt, tileCount } from "./symmetric-tiles.js";

type Float64Matrix = Matrix<Float64Array>;

// Nearly all work is in products of whole tiles, made in the tiles' own dtype. What is summed over tiles, triangles on the diagonal and what
// is solved with them is float64, so that float32 tiles are rounded once for each step that writes them.

/** A float64 copy of a tile, row-major. */
function widened(matrix: Matrix): Float64Matrix {
  return tensor(Float64Array.from(contiguousData(matrix)), matrix.shape);
}

function write(matrix: Matrix, values: Floats): void {
  matrix.data.set(values, matrix.offset);
}

/**
 * Puts the Cholesky factor L in the place of a symmetric positive definite matrix A = L·Lᵀ; but tiles on the diagonal are L's inverted,
 * zeros above their diagonal, since solving and inverting need nothing else of them.
 * Cost: size³/3 operations in the engine.
 * @throws MATRIX_NOT_POSITIVE_DEFINITE naming the pivot; INTERRUPTED
 */
export async function tiledCholesky(matrix: SymmetricTiles, ctx: RunContext): Promise<void> {
  const { engine } = ctx;
  for (let j = 0; j < tileCount(matrix); j++) {
    let inverse: Float64Matrix;
    for (let i = j; i < tileCount(matrix); i++) {
      throwIfAborted(ctx.signal);
      const target = tileAt(matrix, i, j);
      const sums = widened(target);
      await sumProducts(
        sums.data,
        -1,
        Array.from(
          { length: j },
          (_, k) => () => engine.matmul(tileAt(matrix, i, k), tileAt(matrix, j, k), { transposeB: true }),
        ),
      );
      if (i === j) {
        await factorInPlace(sums, j * matrix.tile, ctx);
        await invertTriangle(sums, ctx);
        inverse = sums;
        write(target, sums.data);
      } else {
        write(target, (await engine.matmul(sums, inverse!, { transposeB: true })).data);
      }
    }
  }
}

/**
 * Puts the solution of A·X = B in the place of B.
 * Cost: 2 · size² · columns operations in the engine.
 * @param lower - what {@link tiledCholesky} leaves of A
 * @param rightSide - [size, columns] row-major, of the factor's dtype
 * @throws TENSOR_SHAPE; INTERRUPTED
 */
export async function tiledSolve(lower: SymmetricTiles, rightSide: Matrix, ctx: RunContext): Promise<void> {
  const { engine } = ctx;
  const count = tileCount(lower);
  const rows = (i: number) => rowsBeside(lower, i, rightSide);
  const step = async (i: number, products: readonly (() => Promise<Matrix>)[], transposeA: boolean) => {
    throwIfAborted(ctx.signal);
    const sums = widened(rows(i));
    await sumProducts(sums.data, -1, products);
    write(rows(i), (await engine.matmul(widened(tileAt(lower, i, i)), sums, { transposeA })).data);
  };
  for (let i = 0; i < count; i++) {
    const before = Array.from({ length: i }, (_, k) => () => engine.matmul(tileAt(lower, i, k), rows(k)));
    await step(i, before, false);
  }
  for (let i = count - 1; i >= 0; i--) {
    const behind = Array.from(
      { length: count - 1 - i },
      (_, k) => () => engine.matmul(tileAt(lower, i + 1 + k, i), rows(i + 1 + k), { transposeA: true }),
    );
    await step(i, behind, true);
  }
}

/**
 * Puts A⁻¹ in the place of what {@link tiledCholesky} leaves of A.
 * Cost: 2/3 · size³ operations in the engine.
 * @throws INTERRUPTED
 */
export async function tiledInverse(lower: SymmetricTiles, ctx: RunContext): Promise<void> {
  const { engine } = ctx;
  const count = tileCount(lower);
  const at = (i: number, j: number) => tileAt(lower, i, j);
  // V = L⁻¹: V_ij = −V_ii · Σ_{j ≤ k < i} L_ik·V_kj, rows from the top; tiles of a row from the left, since L_ij serves those before it.
  for (let i = 0; i < count; i++) {
    const inverse = widened(at(i, i));
    for (let j = 0; j < i; j++) {
      throwIfAborted(ctx.signal);
      const sums = tensor(new Float64Array(at(i, j).data.length), at(i, j).shape) as Float64Matrix;
      await sumProducts(
        sums.data,
        -1,
        Array.from({ length: i - j }, (_, k) => () => engine.matmul(at(i, j + k), at(j + k, j))),
      );
      write(at(i, j), (await engine.matmul(inverse, sums)).data);
    }
  }
  // A⁻¹_ij = Σ_{k ≥ i} V_kiᵀ·V_kj, rows from the top, the diagonal last: nothing above row i is read again.
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) {
      throwIfAborted(ctx.signal);
      const sums = new Float64Array(at(i, j).data.length);
      await sumProducts(
        sums,
        1,
        Array.from(
          { length: count - i },
          (_, k) => () => engine.matmul(at(i + k, i), at(i + k, j), { transposeA: true }),
        ),
      );
      if (i === j) mirror(sums, at(i, i).shape[0]);
      write(at(i, j), sums);
    }
  }
}

/** The engine's products of a matrix with itself need not be symmetric to the last bit. */
function mirror(values: Float64Array, size: number): void {
  for (let i = 0; i < size; i++) for (let j = 0; j < i; j++) values[j * size + i] = values[i * size + j];
}

/**
 * [size, columns] A·X.
 * @param x - [size, columns] row-major, of the matrix's dtype
 * Cost: 2 · size² · columns operations in the engine.
 */
export async function symmetricProduct(
  matrix: SymmetricTiles,
  x: Matrix,
  ctx: RunContext,
): Promise<Float64Matrix> {
  const count = tileCount(matrix);
  const product = tensor(new Float64Array(x.data.length), x.shape) as Float64Matrix;
  for (let i = 0; i < count; i++) {
    throwIfAborted(ctx.signal);
    const out = rowsBeside(matrix, i, product);
    await sumProducts(
      contiguousData(out) as Float64Array,
      1,
      Array.from({ length: count }, (_, k) => () => {
        const beside = rowsBeside(matrix, k, x);
        return k <= i
          ? ctx.engine.matmul(tileAt(matrix, i, k), beside)
          : ctx.engine.matmul(tileAt(matrix, k, i), beside, { transposeA: true });
      }),
    );
  }
  return product;
}

/**
 * Adds AᵀA in place: products in the rows' own dtype, summed in the tiles'. Cost: rows · size² operations in the engine, and size²/2
 * additions here, so that few rows at a time are slow.
 * @param rows - [rows, size], row-major; not changed
 */
export async function addSymmetricGram(sum: SymmetricTiles, rows: Matrix, ctx: RunContext): Promise<void> {
  const columns = (i: number) => {
    const { shape } = tileAt(sum, i, i);
    const part = submatrix(rows, 0, i * sum.tile, rows.shape[0], shape[0]);
    // Copied once for a row of tiles, not for every product.
    return tensor(contiguousData(part), part.shape) as Matrix;
  };
  for (let i = 0; i < tileCount(sum); i++) {
    const left = columns(i);
    for (let j = 0; j <= i; j++) {
      throwIfAborted(ctx.signal);
      const right = j === i ? left : columns(j);
      const target = tileAt(sum, i, j);
      const { data } = await ctx.engine.matmul(left, right, { transposeA: true });
      if (i === j) addLower(target.data, data, target.shape[0]);
      else for (let k = 0; k < data.length; k++) target.data[k] += data[k];
    }
  }
}

/** Adds what is on and below a product's diagonal, and its mirror image. */
function addLower(sums: Floats, product: Floats, size: number): void {
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      const value = product[i * size + j];
      sums[i * size + j] += value;
      if (j < i) sums[j * size + i] += value;
    }
  }
}
