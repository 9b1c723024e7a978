import { type Matrix, type RunContext, type SimilarityMeasure, tensor } from "@layerfold/core";
import { checkValue, comparedLayers, type SimilarityOptions } from "./compared-layers.js";

/**
 * Compares every layer with every layer, itself included.
 *
 * Each layer is prepared once. A symmetric measure sees each unordered pair once, in the order l ≤ m; an asymmetric one sees both orders.
 * Where the measure has `compareAll`, that fills the matrix.
 *
 * @param layers - [samples, features] each; the rows of all are the same samples, the features may differ
 * @returns [layers, layers] float64; entry (l, m) is `compare(layer l, layer m)`; higher = more alike
 * @throws LAYERS_TOO_FEW, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE (naming layer and row), SIMILARITY_NOT_A_NUMBER (naming the pair),
 *   INTERRUPTED, and what measure and embedding throw. Memory: what `prepare` returns, for all layers.
 */
export async function similarityMatrix<P>(
  measure: SimilarityMeasure<P>,
  layers: readonly Matrix[],
  ctx: RunContext,
  options: SimilarityOptions = {},
): Promise<Matrix<Float64Array>> {
  const compared = await comparedLayers(measure, layers, ctx, options);
  const count = layers.length;
  const { symmetric } = measure.traits;
  const values = new Float64Array(count * count);
  const all = await measure.compareAll?.(compared.prepared, { ...ctx, rng: ctx.rng.fork("pairs") });
  if (all) {
    for (let l = 0; l < count; l++) {
      for (let m = 0; m < count; m++) {
        const value = all.data[all.offset + l * all.stride[0] + m * all.stride[1]];
        checkValue(value, options.numbers?.[l] ?? l, options.numbers?.[m] ?? m, measure.id);
        values[l * count + m] = value;
      }
    }
    return tensor(values, [count, count]);
  }
  const total = symmetric ? (count * (count + 1)) / 2 : count * count;
  let done = 0;
  for (let l = 0; l < count; l++) {
    for (let m = symmetric ? l : 0; m < count; m++) {
      const value = await compared.compare(l, m);
      values[l * count + m] = value;
      if (symmetric) values[m * count + l] = value;
      await compared.advance(++done, total);
    }
  }
  return tensor(values, [count, count]);
}
