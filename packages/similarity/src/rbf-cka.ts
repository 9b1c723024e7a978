import { contiguousData, defineSimilarity, type Floats, type Matrix, z } from "@layerfold/core";
import { median, squaredDistances } from "@layerfold/linalg";
import { constantLayer } from "./centered-layer.js";
import {
  alignment,
  alignmentOfAll,
  type CenteredKernel,
  doubleCenter,
  unitKernel,
  upperTriangle,
} from "./kernel-alignment.js";

const optionsSchema = z.strictObject({
  bandwidthFactor: z
    .number()
    .positive()
    .default(1)
    .describe("σ as a multiple of the root of the median squared distance"),
});

/**
 * Centred kernel alignment with the Gaussian kernel exp(−‖x_i − x_j‖² / 2σ²), σ² = factor² · the median of the squared distances over pairs
 * i < j, in [0, 1] (Kornblith et al. 2019, arXiv 1905.00414, §3 and §4).
 *
 * @throws LAYER_CONSTANT when more than half of the pairs coincide, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE. One [n, n] Gram matrix per
 *   layer in the engine, n²/2 numbers kept, n² operations per pair; the median sorts n²/2 numbers.
 */
export const rbfCka = defineSimilarity<CenteredKernel, typeof optionsSchema>({
  id: "rbf-cka",
  summary: "centred kernel alignment with a Gaussian kernel",
  optionsSchema,
  create: ({ bandwidthFactor }) => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [0, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation"],
    },
    async prepare(layer, ctx) {
      const kernel = await squaredDistances(layer, ctx);
      const middle = median(pairs(kernel));
      if (!(middle > 0)) throw constantLayer();
      const factor = -1 / (2 * bandwidthFactor ** 2 * middle);
      const { data } = kernel;
      for (let at = 0; at < data.length; at++) data[at] = Math.exp(data[at] * factor);
      return unitKernel(kernel.shape[0], upperTriangle(doubleCenter(kernel)));
    },
    compare: alignment,
    compareAll: alignmentOfAll,
  }),
});

/** The entries above the diagonal of a symmetric matrix, row by row. */
export function pairs(matrix: Matrix): Floats {
  const [n] = matrix.shape;
  const data = contiguousData(matrix);
  const length = (n * (n - 1)) / 2;
  const out = data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
  for (let i = 0, at = 0; i < n - 1; i++) {
    out.set(data.subarray(i * n + i + 1, (i + 1) * n), at);
    at += n - 1 - i;
  }
  return out;
}
