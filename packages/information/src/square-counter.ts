import type { Points } from "./read-points.js";
import { endWithin, firstWithin, type SortedAxis } from "./sorted-axis.js";

/** Counts the samples strictly within a maximum-norm distance of sample `i`, itself included unless the radius is 0. */
export type NeighborCounter = (i: number, radius: number) => number;

/** The table has at most this many columns: n · 129 entries in memory, n/128 steps for what lies between two columns. */
const columnsWanted = 128;

/**
 * Counting in the plane: a square is a rectangle of ranks, and the number of samples in it is four entries of a table of
 * cumulative counts, plus what the table's columns, a block of ranks apart, leave over.
 *
 * @param points - [count, 2]
 */
export function squareCounter(points: Points, [first, second]: readonly SortedAxis[]): NeighborCounter {
  const { values, count } = points;
  const block = Math.max(16, Math.ceil(count / columnsWanted));
  const width = Math.ceil(count / block) + 1;
  // table[r·width + c]: samples of first rank below r and second rank below c·block.
  const table = new (count < 65536 ? Uint16Array : Uint32Array)((count + 1) * width);
  for (let r = 0; r < count; r++) {
    const row = (r + 1) * width;
    table.copyWithin(row, row - width, row);
    for (let c = Math.floor(second.rank[first.order[r]] / block) + 1; c < width; c++) table[row + c]++;
  }
  const firstRank = Int32Array.from(second.order, (i) => first.rank[i]);
  return (i, radius) => {
    if (!(radius > 0)) return 0;
    const x = values[2 * i];
    const y = values[2 * i + 1];
    const left = firstWithin(first, x, radius);
    const right = endWithin(first, x, radius);
    const bottom = firstWithin(second, y, radius);
    const top = endWithin(second, y, radius);
    const low = Math.floor(bottom / block);
    const high = Math.floor(top / block);
    const toRight = right * width;
    const toLeft = left * width;
    let total = table[toRight + high] - table[toLeft + high] - table[toRight + low] + table[toLeft + low];
    // (rank − bound) >> 31 is −1 where rank < bound, else 0: a comparison without a branch, which would be mispredicted half the time.
    for (let place = high * block; place < top; place++) {
      total += ((firstRank[place] - left) >> 31) - ((firstRank[place] - right) >> 31);
    }
    for (let place = low * block; place < bottom; place++) {
      total -= ((firstRank[place] - left) >> 31) - ((firstRank[place] - right) >> 31);
    }
    return total;
  };
}
