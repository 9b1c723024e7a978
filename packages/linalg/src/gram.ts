import {
  contiguousData,
  type Matrix,
  matrixSize,
  type RunContext,
  tensor,
  throwIfAborted,
} from "@layerfold/core";

/** Rows multiplied at a time: at 2,048 rows a ninth of the work below the diagonal is left, and products stay large. */
const blockRows = 256;

/** Tile edge that keeps a block of rows and the mirrored block of columns in cache. */
const tile = 64;

/**
 * Inner products of all pairs of rows, X·Xᵀ. Only blocks on and above the diagonal are multiplied, and the rest is their mirror image: little
 * more than half of the work, and exactly symmetric.
 *
 * @param points - [samples, features]; not changed
 * @returns [samples, samples] in the points' dtype, row-major
 * @throws INTERRUPTED. samples² · features operations in the engine.
 */
export async function gram<M extends Matrix>(points: M, ctx: RunContext): Promise<M> {
  const { rows, columns } = matrixSize(points, "points");
  const values = contiguousData(points);
  const out = values instanceof Float64Array ? new Float64Array(rows * rows) : new Float32Array(rows * rows);
  for (let start = 0; start < rows; start += blockRows) {
    throwIfAborted(ctx.signal);
    const end = Math.min(start + blockRows, rows);
    const from = (count: number) => tensor(values, [count, columns], [columns, 1], start * columns);
    const { data } = await ctx.engine.matmul<Matrix>(from(end - start), from(rows - start), {
      transposeB: true,
    });
    for (let i = start, at = 0; i < end; i++, at += rows - start) {
      out.set(data.subarray(at, at + rows - start), i * rows + start);
    }
  }
  mirror(out, rows);
  return tensor(out, [rows, rows]) as Matrix as M;
}

/** Copies what is above the diagonal below it. */
function mirror(data: Matrix["data"], size: number): void {
  for (let i0 = 0; i0 < size; i0 += tile) {
    for (let j0 = i0; j0 < size; j0 += tile) {
      for (let i = i0; i < Math.min(i0 + tile, size); i++) {
        for (let j = Math.max(j0, i + 1); j < Math.min(j0 + tile, size); j++) {
          data[j * size + i] = data[i * size + j];
        }
      }
    }
  }
}
