import {
  contiguousData,
  type Matrix,
  type RunContext,
  submatrix,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { cholesky, solveRows } from "./cholesky.js";
import { sumProducts } from "./sum-products.js";
import {
  rowsBeside,
  type SymmetricTiles,
  symmetricPart,
  symmetricShrink,
  tileAt,
  tileCount,
} from "./symmetric-tiles.js";

/**
 * What is left of an inverse H and a solution W = H·B when some unknowns go: with S what goes and R what stays, the inverse and the solution
 * of the system of R alone are H_RR − H_RS (H_SS)⁻¹ H_SR and W_R − H_RS (H_SS)⁻¹ W_S. Works in the memory of both, which are spoilt.
 *
 * Cost: |R|²·|S| + 2·|R|·|S|² operations in the engine. Memory: |R|·|S| values beside them.
 *
 * @param inverse - [size, size] symmetric positive definite
 * @param weights - [size, columns] row-major, of the inverse's dtype
 * @param gone - positions of S, ascending
 * @throws MATRIX_NOT_POSITIVE_DEFINITE; INTERRUPTED
 */
export async function symmetricWithout(
  inverse: SymmetricTiles,
  weights: Matrix,
  gone: readonly number[],
  ctx: RunContext,
): Promise<{ readonly inverse: SymmetricTiles; readonly weights: Matrix }> {
  const { engine } = ctx;
  const { size, tile, dtype } = inverse;
  const width = weights.shape[1];
  const away = new Set(gone);
  const stay = Array.from({ length: size }, (_, i) => i).filter((i) => !away.has(i));
  // H_SS = M·Mᵀ, so that both updates are products with Y = H_RS·M⁻ᵀ.
  const lower = await cholesky(symmetricPart(inverse, gone, gone), ctx, { overwrite: true });
  const across: Matrix[] = [];
  for (let start = 0; start < stay.length; start += tile) {
    const rows = symmetricPart(inverse, stay.slice(start, start + tile), gone);
    await solveRows(lower, rows, false, ctx);
    across.push(narrowed(rows, dtype));
  }
  // (M⁻¹·W_S)ᵀ, whose rows are solved for.
  const goneWeights = tensor(new Float64Array(width * gone.length), [width, gone.length]);
  gone.forEach((row, s) => {
    for (let t = 0; t < width; t++) goneWeights.data[t * gone.length + s] = weights.data[row * width + t];
  });
  await solveRows(lower, goneWeights, false, ctx);
  const solved = narrowed(goneWeights, dtype);
  stay.forEach((row, r) => {
    weights.data.copyWithin(r * width, row * width, (row + 1) * width);
  });
  const rest = symmetricShrink(inverse, stay);
  const restWeights = submatrix(weights, 0, 0, stay.length) as Matrix;
  for (let i = 0; i < tileCount(rest); i++) {
    const left = across[i];
    throwIfAborted(ctx.signal);
    await sumProducts(contiguousData(rowsBeside(rest, i, restWeights)), -1, [
      () => engine.matmul(left, solved, { transposeB: true }),
    ]);
    for (let j = 0; j <= i; j++) {
      await sumProducts(tileAt(rest, i, j).data, -1, [
        () => engine.matmul(left, across[j], { transposeB: true }),
      ]);
    }
  }
  return { inverse: rest, weights: tensor(contiguousData(restWeights), restWeights.shape) as Matrix };
}

function narrowed(matrix: Matrix<Float64Array>, dtype: SymmetricTiles["dtype"]): Matrix {
  return dtype === "float64" ? matrix : (tensor(Float32Array.from(matrix.data), matrix.shape) as Matrix);
}
