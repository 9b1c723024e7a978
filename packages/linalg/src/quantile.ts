import { type Floats, LayerfoldError } from "@layerfold/core";

/**
 * The value at place `index` (from 0) of the ascending order, by quickselect (Hoare 1961).
 *
 * @param values - more than `index` numbers, none NaN; not changed
 * @throws SAMPLES_TOO_FEW. O(n) on average.
 */
export function orderStatistic(values: Floats | readonly number[], index: number): number {
  return select(copyOf(values, index + 1), index);
}

/**
 * The q-quantile of the values, linear between order statistics (Hyndman & Fan 1996, type 7; numpy's default).
 *
 * @param values - at least one number, none NaN; not changed
 * @param q - 0 … 1
 * @throws SAMPLES_TOO_FEW when empty. O(n) on average.
 */
export function quantile(values: Floats | readonly number[], q: number): number {
  const work = copyOf(values, 1);
  const at = q * (work.length - 1);
  const below = Math.floor(at);
  const low = select(work, below);
  if (at === below) return low;
  // After selection everything beyond is at least as large.
  let high = Number.POSITIVE_INFINITY;
  for (let i = below + 1; i < work.length; i++) high = Math.min(high, work[i]);
  return low + (at - below) * (high - low);
}

/** The middle value, or the mean of the two middle ones. See {@link quantile}. */
export function median(values: Floats | readonly number[]): number {
  return quantile(values, 0.5);
}

function copyOf(values: Floats | readonly number[], needed: number): Float64Array {
  if (values.length < needed) {
    throw new LayerfoldError("SAMPLES_TOO_FEW", "too few values for the order statistic", {
      wanted: `at least ${needed}`,
      got: `${values.length}`,
    });
  }
  return new Float64Array(values);
}

/** Rearranges `work` so that what lies before `index` is not larger and what lies beyond not smaller than the value there. */
function select(work: Float64Array, index: number): number {
  let left = 0;
  let right = work.length - 1;
  while (left < right) {
    const pivot = work[(left + right) >> 1];
    let i = left;
    let j = right;
    while (i <= j) {
      while (work[i] < pivot) i++;
      while (work[j] > pivot) j--;
      if (i <= j) {
        const swapped = work[i];
        work[i++] = work[j];
        work[j--] = swapped;
      }
    }
    if (index <= j) right = j;
    else if (index >= i) left = i;
    else break;
  }
  return work[index];
}
