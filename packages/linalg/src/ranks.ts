import type { Floats, Rng } from "@layerfold/core";

/** The indices that put the values in ascending order; equal values keep their order. O(n log n). */
export function ascendingOrder(values: Floats | readonly number[]): Int32Array {
  return Int32Array.from({ length: values.length }, (_, i) => i).sort((a, b) => values[a] - values[b]);
}

/**
 * Ranks 0 … n−1 of the values, ascending. Equal values share the mean of their ranks, as `scipy.stats.rankdata` has it less one.
 *
 * @param values - [n], none NaN; not changed
 * @returns [n] float64
 *
 * @example
 * ```ts
 * assert(averageRanks([10, 30, 10]).join() === "0.5,2,0.5");
 * ```
 */
export function averageRanks(values: Floats | readonly number[]): Float64Array {
  const order = ascendingOrder(values);
  const ranks = new Float64Array(values.length);
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && values[order[to]] === values[order[from]]) to++;
    for (let k = from; k < to; k++) ranks[order[k]] = (from + to - 1) / 2;
  }
  return ranks;
}

/** Ranks 0 … n−1 of the values, ascending and all different: equal values are put in a random order. */
export function randomTieRanks(values: Floats | readonly number[], rng: Rng): Float64Array {
  const key = rng.permutation(values.length);
  const order = Int32Array.from({ length: values.length }, (_, i) => i).sort(
    (a, b) => values[a] - values[b] || key[a] - key[b],
  );
  const ranks = new Float64Array(values.length);
  order.forEach((index, rank) => {
    ranks[index] = rank;
  });
  return ranks;
}
