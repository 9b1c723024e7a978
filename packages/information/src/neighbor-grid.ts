import type { Points } from "./read-points.js";
import { endWithin, firstWithin, type SortedAxis, sortedAxis } from "./sorted-axis.js";
import { type NeighborCounter, squareCounter } from "./square-counter.js";

/** Samples per cell, about. */
const cellSize = 4;

/** Samples in order of cells: those of cells (u, v), (u, v + 1), … lie side by side. */
interface CellOrder {
  readonly order: Int32Array;
  /** [cells + 1] where each cell u·minorCount + v starts in `order`. */
  readonly start: Int32Array;
}

/** How one axis is cut into intervals with about equally many samples. */
interface Cut {
  readonly intervals: number;
  /** [count] interval of each sample. */
  readonly interval: Int32Array;
  /** `lower[c]`: the smallest value in intervals c, c + 1, …; infinite beyond the last. */
  readonly lower: Float64Array;
  /** `upper[c]`: the largest value in intervals … c − 2, c − 1; −∞ before the first. */
  readonly upper: Float64Array;
}

/**
 * Samples sorted into a grid over their first two coordinates (one, where there is only one), prepared once and searched often.
 * Cells hold about equally many samples of each margin, so outliers cost nothing.
 */
export interface NeighborGrid {
  readonly points: Points;
  readonly cuts: readonly [Cut, Cut];
  /** First axis major: a column of cells is contiguous. */
  readonly columns: CellOrder;
  /** Second axis major: a row of cells is contiguous. */
  readonly rows: CellOrder;
  readonly countWithin: NeighborCounter;
}

/** O(n log n) time, O(n) memory (two coordinates: up to 129 n entries for counting). */
export function neighborGrid(points: Points): NeighborGrid {
  const { values, count, dimensions } = points;
  const axes = Array.from({ length: Math.min(2, dimensions) }, (_, c) =>
    sortedAxis(values, count, dimensions, c),
  );
  const intervals = Math.max(1, Math.round((count / cellSize) ** (1 / axes.length)));
  const cuts: [Cut, Cut] = [cut(axes[0], intervals), axes[1] ? cut(axes[1], intervals) : uncut(count)];
  const grid = { points, cuts, columns: cellOrder(cuts[0], cuts[1]), rows: cellOrder(cuts[1], cuts[0]) };
  const countWithin =
    dimensions === 1
      ? (i: number, radius: number) =>
          radius > 0 ? endWithin(axes[0], values[i], radius) - firstWithin(axes[0], values[i], radius) : 0
      : dimensions === 2
        ? squareCounter(points, axes)
        : scanCounter(grid);
  return { ...grid, countWithin };
}

function cut({ sorted, rank }: SortedAxis, intervals: number): Cut {
  const count = sorted.length;
  const lower = new Float64Array(intervals + 1).fill(Number.POSITIVE_INFINITY);
  const upper = new Float64Array(intervals + 1).fill(Number.NEGATIVE_INFINITY);
  for (let c = 0; c < intervals; c++) {
    const start = Math.ceil((c * count) / intervals);
    lower[c] = sorted[start];
    if (c > 0) upper[c] = sorted[start - 1];
  }
  upper[intervals] = sorted[count - 1];
  return { intervals, interval: rank.map((place) => Math.floor((place * intervals) / count)), lower, upper };
}

/** The one interval of an axis that is not there. */
function uncut(count: number): Cut {
  const [low, high] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  return {
    intervals: 1,
    interval: new Int32Array(count),
    lower: Float64Array.of(low, high),
    upper: Float64Array.of(low, high),
  };
}

function cellOrder(major: Cut, minor: Cut): CellOrder {
  const count = major.interval.length;
  const cellOf = (i: number) => major.interval[i] * minor.intervals + minor.interval[i];
  const start = new Int32Array(major.intervals * minor.intervals + 1);
  for (let i = 0; i < count; i++) start[cellOf(i) + 1]++;
  for (let c = 1; c < start.length; c++) start[c] += start[c - 1];
  const next = start.slice();
  const order = new Int32Array(count);
  for (let i = 0; i < count; i++) order[next[cellOf(i)]++] = i;
  return { order, start };
}

/** Counting in three and more dimensions: every sample in the columns of cells that the cube reaches is looked at. */
function scanCounter({ points, cuts, columns }: Omit<NeighborGrid, "countWithin">): NeighborCounter {
  const { values, dimensions } = points;
  const [across, along] = cuts;
  return (i, radius) => {
    const query = values.subarray(i * dimensions, (i + 1) * dimensions);
    let [left, bottom] = [across.interval[i], along.interval[i]];
    let [right, top] = [left, bottom];
    while (query[0] - across.upper[left] < radius) left--;
    while (across.lower[right + 1] - query[0] < radius) right++;
    while (query[1] - along.upper[bottom] < radius) bottom--;
    while (along.lower[top + 1] - query[1] < radius) top++;
    let total = 0;
    for (let column = left; column <= right; column++) {
      const end = columns.start[column * along.intervals + top + 1];
      for (let p = columns.start[column * along.intervals + bottom]; p < end; p++) {
        const at = columns.order[p] * dimensions;
        let c = 0;
        while (c < dimensions && Math.abs(query[c] - values[at + c]) < radius) c++;
        if (c === dimensions) total++;
      }
    }
    return total;
  };
}

/** Nearest neighbours of every sample. */
export interface NearestSamples {
  /** [count] distance to the neighborCount-th nearest other sample. */
  readonly distance: Float64Array;
  /** [count, neighborCount] the nearest other samples, nearest first; empty where only distances were asked for. */
  readonly neighbors: Int32Array;
}

/**
 * Looks at samples `from` … `to` of `packed` and keeps the nearest; returns the distance that a nearer one has to beat.
 * `best` and `ids` hold the nearest so far, ascending.
 */
type Scan = (
  packed: Float64Array,
  order: Int32Array,
  from: number,
  to: number,
  query: Float64Array,
  best: Float64Array,
  ids: Int32Array,
) => number;

/** max_c |q_c − z_c|. */
const scanMaximum: Scan = (packed, order, from, to, query, best, ids) => {
  const width = query.length;
  const last = best.length - 1;
  let worst = best[last];
  for (let p = from, at = from * width; p < to; p++, at += width) {
    let distance = 0;
    // From the last coordinate: those are not the grid's, so they reject most.
    for (let c = width - 1; c >= 0; c--) {
      const gap = Math.abs(query[c] - packed[at + c]);
      if (gap > distance) {
        distance = gap;
        if (gap > worst) break;
      }
    }
    if (distance <= worst) worst = insert(distance, order[p], best, ids);
  }
  return worst;
};

/**
 * `scanMaximum` for four coordinates, two planes: the case that has to be fast. Whether a sample is near is a coin toss to the processor, so the
 * near ones are first collected without a branch; a wrong guess costs more than the four comparisons.
 */
function planeScan(count: number): Scan {
  const near = new Int32Array(count);
  return (packed, order, from, to, query, best, ids) => {
    const a = query[0];
    const b = query[1];
    const c = query[2];
    const d = query[3];
    let worst = best[best.length - 1];
    let found = 0;
    for (let p = from; p < to; p++) {
      const at = 4 * p;
      near[found] = p;
      found +=
        +(Math.abs(c - packed[at + 2]) <= worst) &
        +(Math.abs(d - packed[at + 3]) <= worst) &
        +(Math.abs(a - packed[at]) <= worst) &
        +(Math.abs(b - packed[at + 1]) <= worst);
    }
    for (let k = 0; k < found; k++) {
      const at = 4 * near[k];
      const across = Math.abs(a - packed[at]);
      const along = Math.abs(b - packed[at + 1]);
      const beside = Math.abs(c - packed[at + 2]);
      // Comparisons by hand: Math.max of four also asks about NaN and the sign of zero.
      let distance = Math.abs(d - packed[at + 3]);
      if (across > distance) distance = across;
      if (along > distance) distance = along;
      if (beside > distance) distance = beside;
      if (distance <= worst) worst = insert(distance, order[near[k]], best, ids);
    }
    return worst;
  };
}

/** Σ_c (q_c − z_c)². */
const scanSquares: Scan = (packed, order, from, to, query, best, ids) => {
  const width = query.length;
  const last = best.length - 1;
  let worst = best[last];
  for (let p = from, at = from * width; p < to; p++, at += width) {
    let distance = 0;
    for (let c = width - 1; c >= 0 && distance <= worst; c--) distance += (query[c] - packed[at + c]) ** 2;
    if (distance <= worst) worst = insert(distance, order[p], best, ids);
  }
  return worst;
};

/**
 * Inserts by distance, then by number of the sample, so that the result does not depend on the order of looking. With empty `ids` distances
 * alone are kept, which do not depend on it anyway.
 */
function insert(distance: number, id: number, best: Float64Array, ids: Int32Array): number {
  const last = best.length - 1;
  if (ids.length === 0) {
    let at = last;
    for (; at > 0 && best[at - 1] > distance; at--) best[at] = best[at - 1];
    best[at] = distance;
    return best[last];
  }
  if (distance === best[last] && id > ids[last]) return distance;
  let at = last;
  for (; at > 0 && (best[at - 1] > distance || (best[at - 1] === distance && ids[at - 1] > id)); at--) {
    best[at] = best[at - 1];
    ids[at] = ids[at - 1];
  }
  best[at] = distance;
  ids[at] = id;
  return best[last];
}

/**
 * The nearest neighbours of every sample in the joint space of the grid's coordinates and of `beside`'s, exactly; of equally near samples
 * those that come first.
 *
 * A rectangle of cells around the sample grows by the side that is nearest until no sample outside can be near enough.
 *
 * @param norm - "maximum" or "euclidean"
 * @param wanted - "distance" leaves `neighbors` empty, and is faster
 * @param beside - further coordinates of the same samples; default none
 * @returns O(n · samples in the rectangle), about n^1.5 in the plane; about n² where the first two coordinates tell little
 */
export function nearestSamples(
  grid: NeighborGrid,
  neighborCount: number,
  norm: "maximum" | "euclidean",
  wanted: "distance" | "neighbors",
  beside?: Points,
): NearestSamples {
  const { points, cuts, columns, rows } = grid;
  const { count } = points;
  const [across, along] = cuts;
  const squared = norm === "euclidean";
  const packedRows = packed(rows.order, points, beside);
  const packedColumns = packed(columns.order, points, beside);
  const width = packedRows.length / count;
  const scan = squared ? scanSquares : width === 4 ? planeScan(count) : scanMaximum;
  const distance = new Float64Array(count);
  const neighbors = new Int32Array(wanted === "neighbors" ? count * neighborCount : 0);
  // One more than asked for: a sample finds itself, or a duplicate in its stead, first.
  const best = new Float64Array(neighborCount + 1);
  const ids = new Int32Array(wanted === "neighbors" ? neighborCount + 1 : 0);
  const query = new Float64Array(width);
  for (let p = 0; p < count; p++) {
    const i = rows.order[p];
    for (let c = 0; c < width; c++) query[c] = packedRows[p * width + c];
    const x = query[0];
    // On a line the second axis is uncut and any value will do.
    const y = points.dimensions > 1 ? query[1] : 0;
    let left = across.interval[i];
    let right = left;
    let bottom = along.interval[i];
    let top = bottom;
    const row = bottom * across.intervals;
    best.fill(Number.POSITIVE_INFINITY);
    let worst = scan(
      packedRows,
      rows.order,
      rows.start[row + left],
      rows.start[row + left + 1],
      query,
      best,
      ids,
    );
    for (;;) {
      const toLeft = x - across.upper[left];
      const toRight = across.lower[right + 1] - x;
      const toBottom = y - along.upper[bottom];
      const toTop = along.lower[top + 1] - y;
      const sideways = Math.min(toLeft, toRight);
      const upright = Math.min(toBottom, toTop);
      const gap = Math.min(sideways, upright);
      if (gap === Number.POSITIVE_INFINITY || (squared ? gap * gap : gap) > worst) break;
      if (gap === sideways) {
        const column = (toLeft < toRight ? --left : ++right) * along.intervals;
        const from = columns.start[column + bottom];
        worst = scan(packedColumns, columns.order, from, columns.start[column + top + 1], query, best, ids);
      } else {
        const line = (toBottom < toTop ? --bottom : ++top) * across.intervals;
        const from = rows.start[line + left];
        worst = scan(packedRows, rows.order, from, rows.start[line + right + 1], query, best, ids);
      }
    }
    distance[i] = squared ? Math.sqrt(worst) : worst;
    if (wanted === "distance") continue;
    let to = i * neighborCount;
    const end = to + neighborCount;
    for (let k = 0; to < end; k++) if (ids[k] !== i) neighbors[to++] = ids[k];
  }
  return { distance, neighbors };
}

/** Joint coordinates [x, y] of the samples in the given order, row-major. */
function packed(order: Int32Array, x: Points, y?: Points): Float64Array {
  const dx = x.dimensions;
  const dy = y?.dimensions ?? 0;
  const width = dx + dy;
  const out = new Float64Array(order.length * width);
  for (let p = 0, at = 0; p < order.length; p++) {
    const i = order[p];
    for (let c = 0; c < dx; c++) out[at++] = x.values[i * dx + c];
    for (let c = 0; c < dy; c++) out[at++] = y!.values[i * dy + c];
  }
  return out;
}
