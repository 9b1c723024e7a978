import {
  contiguousData,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type RunContext,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { squaredDistancesTo } from "./squared-distances.js";

/** For every query its nearest samples, nearest first; equal distances in order of index. */
export interface Neighbors {
  readonly neighborCount: number;
  /** [queries, neighborCount] */
  readonly indices: Int32Array;
  /** [queries, neighborCount] squared Euclidean distances. */
  readonly squaredDistances: Float64Array;
}

/** Distances held at a time: 64 MiB in float64. */
const blockElements = 1 << 23;

/**
 * Exact nearest neighbours by Euclidean distance, a block of queries at a time through the engine.
 *
 * @param points - [samples, features] to search in
 * @param neighborCount - at least 1
 * @param queries - [queries, features]; default every sample itself, which is then not its own neighbour (duplicates of it are)
 * @throws SAMPLES_TOO_FEW for fewer samples than neighbours (+ 1 without queries), POINTS_NOT_FINITE, INTERRUPTED.
 *   O(queries · samples · features) in the engine.
 */
export async function nearestNeighbors(
  points: Matrix,
  neighborCount: number,
  ctx: RunContext,
  queries?: Matrix,
): Promise<Neighbors> {
  const { rows: samples, columns } = matrixSize(points, "points");
  const needed = neighborCount + (queries ? 0 : 1);
  if (samples < needed) {
    throw new LayerfoldError("SAMPLES_TOO_FEW", `too few samples for ${neighborCount} neighbours`, {
      wanted: `at least ${needed}`,
      got: `${samples}`,
    });
  }
  const distancesTo = squaredDistancesTo(points);
  const from = queries ?? points;
  const { rows } = matrixSize(from, "queries");
  const values = contiguousData(from);
  const indices = new Int32Array(rows * neighborCount);
  const squared = new Float64Array(rows * neighborCount);
  const step = Math.max(1, Math.floor(blockElements / samples));
  for (let start = 0; start < rows; start += step) {
    throwIfAborted(ctx.signal);
    const count = Math.min(step, rows - start);
    const block = tensor(values, [count, columns], [columns, 1], start * columns);
    const { data } = await distancesTo(block, ctx);
    for (let i = 0; i < count; i++) {
      const row = data.subarray(i * samples, (i + 1) * samples);
      const at = (start + i) * neighborCount;
      selectSmallest(
        row,
        queries ? -1 : start + i,
        indices.subarray(at, at + neighborCount),
        squared.subarray(at, at + neighborCount),
      );
    }
  }
  return { neighborCount, indices, squaredDistances: squared };
}

/** Fills `indices` and `values` with the smallest entries of a row, ascending, by insertion: O(row) once the list has settled. */
function selectSmallest(
  row: ArrayLike<number>,
  excluded: number,
  indices: Int32Array,
  values: Float64Array,
): void {
  const count = indices.length;
  let filled = 0;
  for (let j = 0; j < row.length; j++) {
    const value = row[j];
    if (j === excluded || (filled === count && value >= values[count - 1])) continue;
    let at = filled < count ? filled++ : count - 1;
    for (; at > 0 && values[at - 1] > value; at--) {
      values[at] = values[at - 1];
      indices[at] = indices[at - 1];
    }
    values[at] = value;
    indices[at] = j;
  }
}
