import { type Matrix, type RunContext, type SimilarityMeasure, throwIfAborted } from "@layerfold/core";
import { quantile } from "@layerfold/linalg";
import { pairedRows, selectRows } from "./select-rows.js";

/**
 * A confidence interval of a measure between two layers by the bootstrap without replacement (subsampling, Politis & Romano 1994): the spread
 * over random halves of the samples, which equals the spread over new samples of full size.
 *
 * The ordinary bootstrap draws samples twice; nearest-neighbour estimates would take such duplicates for perfect dependence. The interval is
 * centred on the value from all samples; it covers sampling error, not the estimator's bias.
 *
 * @param a - [samples, features]
 * @param b - [samples, features], row i belongs to row i of `a`
 * @param options.repetitions - halves drawn; default 200
 * @param options.level - coverage; default 0.95
 * @throws SAMPLE_COUNT_MISMATCH, INTERRUPTED, and what the measure throws. `repetitions` comparisons of half the samples.
 */
export async function subsampleInterval<P>(
  measure: SimilarityMeasure<P>,
  a: Matrix,
  b: Matrix,
  ctx: RunContext,
  { repetitions = 200, level = 0.95 }: { readonly repetitions?: number; readonly level?: number } = {},
): Promise<{ readonly value: number; readonly low: number; readonly high: number }> {
  const rows = pairedRows(a, b);
  const estimate = async (first: Matrix, second: Matrix, label: string) => {
    throwIfAborted(ctx.signal);
    const draw = (part: string) => ({ ...ctx, rng: ctx.rng.fork(`${part} ${label}`) });
    const prepared = [
      await measure.prepare(first, draw("first")),
      await measure.prepare(second, draw("second")),
    ];
    return measure.compare(prepared[0], prepared[1], draw("pair"));
  };
  const value = await estimate(a, b, "whole");
  const half = Math.floor(rows / 2);
  const estimates = new Float64Array(repetitions);
  for (let k = 0; k < repetitions; k++) {
    const order = ctx.rng.fork(`half ${k}`).permutation(rows).subarray(0, half);
    estimates[k] = await estimate(selectRows(a, order), selectRows(b, order), `${k}`);
    ctx.report?.({
      type: "progress",
      stage: "subsample interval",
      done: k + 1,
      total: repetitions,
      unit: "subsamples",
    });
  }
  const center = estimates.reduce((sum, v) => sum + v, 0) / repetitions;
  // Var(half − whole) = (1/m − 1/n)σ², which is the whole's own σ²/n at m = n/2.
  const scale = Math.sqrt(half / (rows - half));
  const bound = (q: number) => value + scale * (quantile(estimates, q) - center);
  return { value, low: bound((1 - level) / 2), high: bound((1 + level) / 2) };
}
