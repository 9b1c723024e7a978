import { defineSimilarity, z } from "@layerfold/core";
import { gram } from "@layerfold/linalg";
import { centeredLayer } from "./centered-layer.js";
import {
  alignment,
  alignmentOfAll,
  type CenteredKernel,
  uCenter,
  unitKernel,
  upperTriangle,
} from "./kernel-alignment.js";

const optionsSchema = z.strictObject({});

/**
 * Linear CKA with the unbiased HSIC of Song et al. 2012 (eq. 5) in numerator and denominator, in [−1, 1] (Nguyen, Raghu & Kornblith 2021,
 * arXiv 2010.15327, eq. 2 and 3): about 0 for independent layers however many features they have.
 *
 * @throws SAMPLES_TOO_FEW (4 are needed), LAYER_CONSTANT, SAMPLE_COUNT_MISMATCH. One [n, n] Gram matrix per layer (n²D operations in the
 *   engine; n²/2 numbers kept), n² per pair. For many samples see `minibatch-cka`.
 */
export const debiasedCka = defineSimilarity<CenteredKernel, typeof optionsSchema>({
  id: "debiased-cka",
  summary: "linear CKA by the unbiased HSIC",
  optionsSchema,
  create: () => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [-1, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation"],
    },
    async prepare(layer, ctx) {
      // Centring changes nothing in exact arithmetic; it keeps digits.
      const kernel = await gram(centeredLayer(layer), ctx);
      return unitKernel(layer.shape[0], upperTriangle(uCenter(kernel)));
    },
    compare: alignment,
    compareAll: alignmentOfAll,
  }),
});
