import {
  contiguousData,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type RunContext,
  submatrix,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { squareSize } from "./symmetric-eigen.js";

/** Triangles up to this size are taken whole: substituted in TypeScript, or inverted there where many rows are to be solved. */
const base = 64;

/** From so many rows on a product with a triangle's inverse, through the engine, beats substitution row by row. */
const manyRows = 128;

type Float64Matrix = Matrix<Float64Array>;

/** Where a block of `size` is halved: a multiple of the base size. */
function half(size: number): number {
  return Math.ceil(size / (2 * base)) * base;
}

/** Rows and columns of a product that are made at a time, fewer where rows are long: the engine copies what it multiplies. */
const panelSize = 1024;
const panelValues = 2 ** 22;

function panelFor(inner: number): number {
  return Math.min(panelSize, Math.ceil(panelValues / inner));
}

/** Subtracts a·b (b transposed where asked) from a view in place; where a·bᵀ is symmetric only from the panels on and below the diagonal. */
async function subtractProduct(
  target: Float64Matrix,
  a: Float64Matrix,
  b: Float64Matrix,
  transposeB: boolean,
  ctx: RunContext,
): Promise<void> {
  const [rows, columns] = target.shape;
  const inner = a.shape[1];
  const symmetric = a === b;
  const panel = panelFor(inner);
  for (let top = 0; top < rows; top += panel) {
    const height = Math.min(panel, rows - top);
    const left = submatrix(a, top, 0, height, inner);
    const end = symmetric ? top + height : columns;
    for (let first = 0; first < end; first += panel) {
      throwIfAborted(ctx.signal);
      const width = Math.min(panel, end - first);
      const right = transposeB ? submatrix(b, first, 0, width, inner) : submatrix(b, 0, first, inner, width);
      const product = (await ctx.engine.matmul(left, right, { transposeB })).data;
      for (let i = 0, from = 0; i < height; i++) {
        const start = target.offset + (top + i) * target.stride[0] + first;
        for (let j = 0; j < width; j++, from++) target.data[start + j] -= product[from];
      }
    }
  }
}

/**
 * The Cholesky factor of a symmetric positive definite matrix: A = L·Lᵀ.
 *
 * Recursive (halves, then an engine product for what remains), so nearly all work is in a few large products.
 *
 * @param matrix - [n, n] float64, of which the lower triangle is read; not changed unless `overwrite` lends its memory to the result
 * @returns [n, n] lower triangular, zeros above the diagonal
 * @throws MATRIX_NOT_POSITIVE_DEFINITE naming the pivot; TENSOR_SHAPE when not square. O(n³) in the engine, O(64·n²) here.
 *
 * @example
 * ```ts
 * const lower = await cholesky(tensor(new Float64Array([4, 2, 2, 5]), [2, 2]), ctx);
 * assert(lower.data.join() === "2,0,1,2");
 * ```
 */
export async function cholesky(
  matrix: Float64Matrix,
  ctx: RunContext,
  options: { readonly overwrite?: boolean } = {},
): Promise<Float64Matrix> {
  const size = squareSize(matrix);
  const given = contiguousData(matrix);
  const data = options.overwrite ? given : new Float64Array(given);
  const lower = tensor(data, [size, size]);
  await factorInPlace(lower, 0, ctx);
  return lower;
}

/** Puts the factor of a row-major matrix, which begins at row `start` of a whole, in its place. */
export async function factorInPlace(matrix: Float64Matrix, start: number, ctx: RunContext): Promise<void> {
  await factor(matrix, start, ctx);
  const { data, shape } = matrix;
  for (let i = 0; i < shape[0]; i++) data.fill(0, i * shape[0] + i + 1, (i + 1) * shape[0]);
}

/** Factors a diagonal block that begins at row `start` of the whole, in place. */
async function factor(block: Float64Matrix, start: number, ctx: RunContext): Promise<void> {
  const size = block.shape[0];
  if (size <= base) return factorBase(block, start);
  const h = half(size);
  const upperLeft = submatrix(block, 0, 0, h, h);
  const below = submatrix(block, h, 0, size - h, h);
  const lowerRight = submatrix(block, h, h);
  await factor(upperLeft, start, ctx);
  await solveRows(upperLeft, below, false, ctx);
  await subtractProduct(lowerRight, below, below, true, ctx);
  await factor(lowerRight, start + h, ctx);
}

function factorBase({ data, shape, stride, offset }: Float64Matrix, start: number): void {
  for (let i = 0; i < shape[0]; i++) {
    const row = offset + i * stride[0];
    for (let j = 0; j <= i; j++) {
      const other = offset + j * stride[0];
      let sum = data[row + j];
      for (let k = 0; k < j; k++) sum -= data[row + k] * data[other + k];
      if (j < i) {
        data[row + j] = sum / data[other + j];
      } else {
        if (!(sum > 0)) {
          throw new LayerfoldError("MATRIX_NOT_POSITIVE_DEFINITE", "the matrix is not positive definite", {
            wanted: "a positive pivot",
            got: `${sum}`,
            where: `row ${start + i}`,
          });
        }
        data[row + i] = Math.sqrt(sum);
      }
    }
  }
}

/** Solves X·Lᵀ = R (or X·L = R with `plain`) in place; the rows of R are the right-hand sides. */
export async function solveRows(
  lower: Float64Matrix,
  rows: Float64Matrix,
  plain: boolean,
  ctx: RunContext,
): Promise<void> {
  const size = lower.shape[0];
  const count = rows.shape[0];
  if (size <= base) {
    if (count < manyRows) return solveRowsBase(lower, rows, plain);
    const inverse = baseInverse(lower);
    copyInto(rows, (await ctx.engine.matmul(rows, inverse, { transposeB: !plain })).data);
    return;
  }
  const h = half(size);
  const first = submatrix(rows, 0, 0, count, h);
  const second = submatrix(rows, 0, h);
  const corner = submatrix(lower, h, 0, size - h, h);
  const upperLeft = submatrix(lower, 0, 0, h, h);
  const lowerRight = submatrix(lower, h, h);
  if (plain) {
    await solveRows(lowerRight, second, plain, ctx);
    await subtractProduct(first, second, corner, false, ctx);
    await solveRows(upperLeft, first, plain, ctx);
  } else {
    await solveRows(upperLeft, first, plain, ctx);
    await subtractProduct(second, first, corner, true, ctx);
    await solveRows(lowerRight, second, plain, ctx);
  }
}

function solveRowsBase(lower: Float64Matrix, rows: Float64Matrix, plain: boolean): void {
  const size = lower.shape[0];
  const l = lower.data;
  const x = rows.data;
  for (let r = 0; r < rows.shape[0]; r++) {
    const at = rows.offset + r * rows.stride[0];
    if (plain) {
      for (let i = size - 1; i >= 0; i--) {
        const row = lower.offset + i * lower.stride[0];
        const value = x[at + i] / l[row + i];
        x[at + i] = value;
        for (let j = 0; j < i; j++) x[at + j] -= value * l[row + j];
      }
    } else {
      for (let i = 0; i < size; i++) {
        const row = lower.offset + i * lower.stride[0];
        let sum = x[at + i];
        for (let j = 0; j < i; j++) sum -= l[row + j] * x[at + j];
        x[at + i] = sum / l[row + i];
      }
    }
  }
}

/** The inverse of a small lower triangle, row-major, zeros above its diagonal. */
function baseInverse(lower: Float64Matrix): Float64Matrix {
  const size = lower.shape[0];
  const inverse = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    const row = lower.offset + i * lower.stride[0];
    const pivot = lower.data[row + i];
    for (let k = 0; k < i; k++) {
      const factor = lower.data[row + k] / pivot;
      for (let j = 0; j <= k; j++) inverse[i * size + j] -= factor * inverse[k * size + j];
    }
    inverse[i * size + i] = 1 / pivot;
  }
  return tensor(inverse, [size, size]);
}

/**
 * The inverse of a lower triangle.
 *
 * @param lower - [n, n] lower triangular with a nonzero diagonal and zeros above it; not changed unless `overwrite` lends its memory
 * @returns [n, n] lower triangular, zeros above the diagonal. n³/3 operations in the engine.
 */
export async function triangularInverse(
  lower: Float64Matrix,
  ctx: RunContext,
  options: { readonly overwrite?: boolean } = {},
): Promise<Float64Matrix> {
  const size = squareSize(lower);
  const given = contiguousData(lower);
  const inverse = tensor(options.overwrite ? given : new Float64Array(given), [size, size]);
  await invertTriangle(inverse, ctx);
  return inverse;
}

/** Inverts a lower triangle in place; above its diagonal must be zeros. */
export async function invertTriangle(lower: Float64Matrix, ctx: RunContext): Promise<void> {
  const size = lower.shape[0];
  if (size <= base) return copyInto(lower, baseInverse(lower).data);
  const h = half(size);
  const rest = size - h;
  const upperLeft = submatrix(lower, 0, 0, h, h);
  const lowerRight = submatrix(lower, h, h);
  const corner = submatrix(lower, h, 0, rest, h);
  // (A 0; B C)⁻¹ = (A⁻¹ 0; −C⁻¹·B·A⁻¹ C⁻¹): B·A⁻¹ while A still stands, then −C⁻¹ times that, from the end that nothing else reads.
  await solveRows(upperLeft, corner, true, ctx);
  await invertTriangle(upperLeft, ctx);
  await invertTriangle(lowerRight, ctx);
  const panel = panelFor(h);
  for (let first = 0; first < h; first += panel) {
    const width = Math.min(panel, h - first);
    for (let end = rest; end > 0; end -= panel) {
      throwIfAborted(ctx.signal);
      const top = Math.max(0, end - panel);
      const left = submatrix(lowerRight, top, 0, end - top, end);
      const { data } = await ctx.engine.matmul(left, submatrix(corner, 0, first, end, width));
      for (let i = 0; i < data.length; i++) data[i] = -data[i];
      copyInto(submatrix(corner, top, first, end - top, width), data);
    }
  }
}

/** Fills a matrix whose rows are contiguous with row-major values. */
function copyInto(target: Float64Matrix, values: Float64Array): void {
  const [rows, columns] = target.shape;
  for (let i = 0; i < rows; i++) {
    target.data.set(values.subarray(i * columns, (i + 1) * columns), target.offset + i * target.stride[0]);
  }
}

/** A transposed copy, row-major. */
function transposed(matrix: Float64Matrix): Float64Matrix {
  const { rows, columns } = matrixSize(matrix, "the matrix");
  const flipped = tensor(matrix.data, [columns, rows], [matrix.stride[1], matrix.stride[0]], matrix.offset);
  const data = contiguousData(flipped);
  return tensor(data.buffer === matrix.data.buffer ? data.slice() : data, [columns, rows]);
}

function checkRightSide(lower: Float64Matrix, rightSide: Float64Matrix): void {
  const size = squareSize(lower);
  const { rows } = matrixSize(rightSide, "the right-hand side");
  if (rows !== size) {
    throw new LayerfoldError("TENSOR_SHAPE", "the right-hand side has another number of rows", {
      wanted: `${size}`,
      got: `${rows}`,
    });
  }
}

/**
 * Solves L·X = B, or Lᵀ·X = B with `transpose`.
 *
 * @param lower - [n, n] lower triangular with a nonzero diagonal
 * @param rightSide - [n, m]; not changed
 * @returns [n, m]. O(n²·m) in the engine.
 */
export async function solveTriangular(
  lower: Float64Matrix,
  rightSide: Float64Matrix,
  ctx: RunContext,
  options: { readonly transpose?: boolean } = {},
): Promise<Float64Matrix> {
  checkRightSide(lower, rightSide);
  const rows = transposed(rightSide);
  await solveRows(rowMajor(lower), rows, options.transpose ?? false, ctx);
  return transposed(rows);
}

/** Right-hand sides that are solved for at a time, fewer where they are long. */
const slabSize = 1024;
const slabValues = 2 ** 23;

/**
 * Solves (L·Lᵀ)·X = B.
 *
 * @param lower - [n, n] from {@link cholesky}
 * @param rightSide - [n, m]; not changed unless `overwrite` lends its memory to the result
 * @returns [n, m]
 */
export async function choleskySolve(
  lower: Float64Matrix,
  rightSide: Float64Matrix,
  ctx: RunContext,
  options: { readonly overwrite?: boolean } = {},
): Promise<Float64Matrix> {
  checkRightSide(lower, rightSide);
  const [size, count] = rightSide.shape;
  const factorRows = rowMajor(lower);
  const given = contiguousData(rightSide);
  const solution = options.overwrite ? given : new Float64Array(size * count);
  const slab = Math.min(slabSize, Math.ceil(slabValues / size));
  for (let start = 0; start < count; start += slab) {
    const width = Math.min(slab, count - start);
    const rows = transposed(tensor(given, [size, width], [count, 1], start));
    await solveRows(factorRows, rows, false, ctx);
    await solveRows(factorRows, rows, true, ctx);
    const solved = transposed(rows).data;
    for (let i = 0; i < size; i++) {
      solution.set(solved.subarray(i * width, (i + 1) * width), i * count + start);
    }
  }
  return tensor(solution, [size, count]);
}

function rowMajor(matrix: Float64Matrix): Float64Matrix {
  return matrix.stride[1] === 1 ? matrix : tensor(contiguousData(matrix), matrix.shape);
}

/**
 * The inverse of a symmetric positive definite matrix, exactly symmetric: n³ operations in the engine with the factor's own third.
 *
 * @param matrix - [n, n] float64; not changed
 * @throws MATRIX_NOT_POSITIVE_DEFINITE
 */
export async function symmetricInverse(matrix: Float64Matrix, ctx: RunContext): Promise<Float64Matrix> {
  const lower = await cholesky(matrix, ctx);
  await invertTriangle(lower, ctx);
  const size = lower.shape[0];
  const inverse = new Float64Array(size * size);
  const panel = panelFor(size);
  // A⁻¹ = L⁻ᵀ·L⁻¹. Columns of L⁻¹ from `first` on are zero above row `first`.
  for (let first = 0; first < size; first += panel) {
    const width = Math.min(panel, size - first);
    const right = submatrix(lower, first, first, size - first, width);
    for (let top = 0; top <= first; top += panel) {
      throwIfAborted(ctx.signal);
      const height = Math.min(panel, size - top);
      const left = submatrix(lower, first, top, size - first, height);
      const { data } = await ctx.engine.matmul(left, right, { transposeA: true });
      for (let i = 0; i < height; i++) {
        for (let j = 0; j < width; j++) {
          const value = data[i * width + j];
          inverse[(top + i) * size + first + j] = value;
          inverse[(first + j) * size + top + i] = value;
        }
      }
    }
  }
  return tensor(inverse, [size, size]);
}
