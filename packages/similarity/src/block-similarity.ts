import { LayerfoldError, type Matrix, type RunContext, type SimilarityMeasure } from "@layerfold/core";
import { comparedLayers, type SimilarityOptions } from "./compared-layers.js";

/**
 * Compares the stream before a block of layers with the stream after it, for every place the block can have: the form in which angular
 * distance (Gromov et al. 2024, arXiv 2403.17887, eq. 7) and block influence (ShortGPT, arXiv 2403.03853, eq. 2) choose layers.
 *
 * @param layers - [samples, features] each, the same samples in all
 * @param blockSize - layers in the block, 1 … layers − 1
 * @returns [layers − blockSize] float64; entry l is `compare(layer l, layer l + blockSize)`; higher = the block changes less
 * @throws BLOCK_SIZE_INVALID, and what `similarityMatrix` throws
 */
export async function blockSimilarity<P>(
  measure: SimilarityMeasure<P>,
  layers: readonly Matrix[],
  blockSize: number,
  ctx: RunContext,
  options: SimilarityOptions = {},
): Promise<Float64Array> {
  if (!Number.isInteger(blockSize) || blockSize < 1 || blockSize >= layers.length) {
    throw new LayerfoldError("BLOCK_SIZE_INVALID", "no block of this size fits", {
      wanted: `1 to ${layers.length - 1}`,
      got: `${blockSize}`,
    });
  }
  const compared = await comparedLayers(measure, layers, ctx, options);
  const values = new Float64Array(layers.length - blockSize);
  for (let l = 0; l < values.length; l++) {
    values[l] = await compared.compare(l, l + blockSize);
    await compared.advance(l + 1, values.length);
  }
  return values;
}
