/** One coordinate of all samples, arranged so that the samples within a distance of a value are found in a few steps. */
export interface SortedAxis {
  /** [count] ascending. */
  readonly sorted: Float64Array;
  /** [count] sample at each place of `sorted`. */
  readonly order: Int32Array;
  /** [count] place of each sample in `sorted`. */
  readonly rank: Int32Array;
  /** `bucketStart[b]` = values below the b-th of `count` equal parts of the range. */
  readonly bucketStart: Int32Array;
  /** Buckets per unit. */
  readonly scale: number;
}

/** Arranges coordinate `axis` of row-major points. O(n log n). */
export function sortedAxis(
  values: Float64Array,
  count: number,
  dimensions: number,
  axis: number,
): SortedAxis {
  const coordinate = Float64Array.from({ length: count }, (_, i) => values[i * dimensions + axis]);
  const order = Int32Array.from({ length: count }, (_, i) => i).sort((a, b) => coordinate[a] - coordinate[b]);
  const sorted = Float64Array.from(order, (i) => coordinate[i]);
  const rank = new Int32Array(count);
  order.forEach((i, place) => {
    rank[i] = place;
  });
  const range = sorted[count - 1] - sorted[0];
  const scale = range > 0 ? count / range : 0;
  const bucketStart = new Int32Array(count + 2).fill(count);
  for (let b = 0, place = 0; b <= count; b++) {
    while (place < count && (sorted[place] - sorted[0]) * scale < b) place++;
    bucketStart[b] = place;
  }
  return { sorted, order, rank, bucketStart, scale };
}

function bucketOf(axis: SortedAxis, value: number): number {
  const bucket = Math.floor((value - axis.sorted[0]) * axis.scale);
  return bucket > 0 ? Math.min(bucket, axis.sorted.length) : 0;
}

/*
 * Whether a sample is within the radius is decided by |x − value| < radius in floating point, as a scan over all samples would decide it;
 * value ± radius only says where to look. Otherwise rounding could count or lose the very neighbour that set the radius.
 */

/** Place of the first sample x ≤ value with |x − value| < radius. */
export function firstWithin(axis: SortedAxis, value: number, radius: number): number {
  const { sorted, bucketStart } = axis;
  const bucket = bucketOf(axis, value - radius);
  let low = bucketStart[bucket];
  let high = bucketStart[bucket + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value - sorted[middle] < radius) high = middle;
    else low = middle + 1;
  }
  while (low > 0 && value - sorted[low - 1] < radius) low--;
  while (low < sorted.length && value - sorted[low] >= radius) low++;
  return low;
}

/** One place beyond the last sample x ≥ value with |x − value| < radius. */
export function endWithin(axis: SortedAxis, value: number, radius: number): number {
  const { sorted, bucketStart } = axis;
  const bucket = bucketOf(axis, value + radius);
  let low = bucketStart[bucket];
  let high = bucketStart[bucket + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] - value < radius) low = middle + 1;
    else high = middle;
  }
  while (low < sorted.length && sorted[low] - value < radius) low++;
  while (low > 0 && sorted[low - 1] - value >= radius) low--;
  return low;
}
