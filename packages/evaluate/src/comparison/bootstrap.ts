import type { Rng } from "@layerfold/core";

/** Draws of the bootstrap of a comparison. */
export const bootstrapDraws = 10_000;

/**
 * 95 % intervals of figures that hang on sums over documents: the percentile bootstrap (Efron 1979), which draws documents with replacement within
 * each stratum. With fewer than about 10 documents it is too narrow. O(draws · documents).
 *
 * @param strata - [strata][columns][documents] what is summed up; the columns of a stratum are equally long
 * @param figuresOf - from [strata][columns] the sums, the figures
 * @returns for each figure its interval's ends; null for one that is not a number in some draw
 */
export function bootstrapIntervals(
  strata: readonly (readonly ArrayLike<number>[])[],
  figuresOf: (sums: readonly Float64Array[]) => readonly number[],
  rng: Rng,
  draws = bootstrapDraws,
): (readonly [low: number, high: number] | null)[] {
  const sums = strata.map((columns) => new Float64Array(columns.length));
  const drawn: Float64Array[] = [];
  for (let draw = 0; draw < draws; draw++) {
    strata.forEach((columns, s) => {
      const own = sums[s].fill(0);
      const count = columns[0].length;
      for (let i = 0; i < count; i++) {
        const at = rng.integer(count);
        for (let c = 0; c < columns.length; c++) own[c] += columns[c][at];
      }
    });
    figuresOf(sums).forEach((figure, f) => {
      drawn[f] ??= new Float64Array(draws);
      drawn[f][draw] = figure;
    });
  }
  return drawn.map((values) =>
    values.some(Number.isNaN)
      ? null
      : [values.sort()[Math.floor(0.025 * draws)], values[Math.ceil(0.975 * draws) - 1]],
  );
}
