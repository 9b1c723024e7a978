import { type Matrix, type RunContext, submatrix } from "@layerfold/core";

/** Columns of the Gram that are made at a time. */
const panelWidth = 768;
const tile = 16;

/**
 * Adds AᵀA in place. Products are made in the rows' own precision and summed in float64. Only the panels on and above the diagonal are
 * multiplied, and mirrored: little more than half of the work, and an exactly symmetric sum.
 * @param sum - [features, features], row-major
 * @param rows - [rows, features]; not changed. rows · features² operations in the engine.
 */
export async function addGram(sum: Matrix<Float64Array>, rows: Matrix, ctx: RunContext): Promise<void> {
  const [count, size] = rows.shape;
  for (let start = 0; start < size; start += panelWidth) {
    const width = Math.min(panelWidth, size - start);
    const rest = size - start;
    const columns = submatrix(rows, 0, start, count, width);
    const panel = await ctx.engine.matmul(columns, submatrix(rows, 0, start), { transposeA: true });
    // Tile by tile, so that neither the panel nor the mirrored half is read across all its rows for one value each.
    for (let top = 0; top < width; top += tile) {
      const bottom = Math.min(top + tile, width);
      for (let j = top; j < rest; j++) {
        for (let i = top; i < Math.min(bottom, j + 1); i++) {
          const value = panel.data[i * rest + j];
          sum.data[(start + i) * size + start + j] += value;
          if (j > i) sum.data[(start + j) * size + start + i] += value;
        }
      }
    }
  }
}
