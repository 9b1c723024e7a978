import { type Matrix, type RunContext, type SimilarityMeasure, throwIfAborted } from "@layerfold/core";
import { pairedRows, selectRows } from "./select-rows.js";

/**
 * Tests whether two layers are independent: how often does a measure find them as alike as this once their samples are shuffled?
 *
 * @param a - [samples, features]
 * @param b - [samples, features], row i belongs to row i of `a`; its rows are shuffled
 * @param options.permutationCount - shuffles B; default 199. The least p-value is 1 / (B + 1).
 * @returns the value, and p = (1 + shuffles with a value as high) / (1 + B), which is at most u with probability at most u under independence
 *   (Phipson & Smyth 2010)
 * @throws SAMPLE_COUNT_MISMATCH, INTERRUPTED, and what the measure throws. B + 1 comparisons.
 */
export async function permutationTest<P>(
  measure: SimilarityMeasure<P>,
  a: Matrix,
  b: Matrix,
  ctx: RunContext,
  { permutationCount = 199 }: { readonly permutationCount?: number } = {},
): Promise<{ readonly value: number; readonly pValue: number }> {
  const rows = pairedRows(a, b);
  const first = await measure.prepare(a, { ...ctx, rng: ctx.rng.fork("first") });
  const against = async (second: Matrix, label: string | number) => {
    throwIfAborted(ctx.signal);
    const rng = ctx.rng.fork(`second ${label}`);
    return measure.compare(first, await measure.prepare(second, { ...ctx, rng }), {
      ...ctx,
      rng: rng.fork("pair"),
    });
  };
  const value = await against(b, "as it is");
  let asHigh = 0;
  for (let k = 0; k < permutationCount; k++) {
    const order = ctx.rng.fork(`permutation ${k}`).permutation(rows);
    if ((await against(selectRows(b, order), k)) >= value) asHigh++;
    ctx.report?.({
      type: "progress",
      stage: "permutation test",
      done: k + 1,
      total: permutationCount,
      unit: "permutations",
    });
  }
  return { value, pValue: (1 + asHigh) / (1 + permutationCount) };
}
