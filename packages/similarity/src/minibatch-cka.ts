import { defineSimilarity, tensor, z } from "@layerfold/core";
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

const optionsSchema = z.strictObject({
  batchSize: z.number().int().min(4).default(256).describe("samples per batch, about"),
});

/**
 * Debiased linear CKA from batches: mean HSIC₁ over batches in numerator and denominator, in [−1, 1] (Nguyen, Raghu & Kornblith 2021, arXiv
 * 2010.15327, eq. 4). Since HSIC₁ is unbiased at any size, the estimate does not depend on the batch size in expectation, and any number of
 * samples fits in memory.
 *
 * Batches are consecutive samples, in sizes that differ by at most one, so no sample is left out; each batch's share of the mean is the same.
 *
 * @throws SAMPLES_TOO_FEW, LAYER_CONSTANT, SAMPLE_COUNT_MISMATCH. 2n·batchSize·D operations per layer in the engine; n·batchSize/2
 *   numbers kept, and operations per pair.
 */
export const minibatchCka = defineSimilarity<CenteredKernel, typeof optionsSchema>({
  id: "minibatch-cka",
  summary: "debiased linear CKA averaged over batches, for many samples",
  optionsSchema,
  create: ({ batchSize }) => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [-1, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation"],
    },
    async prepare(layer, ctx) {
      const centered = centeredLayer(layer);
      const [samples, features] = centered.shape;
      const batches = Math.max(1, Math.floor(samples / batchSize));
      const starts = Array.from({ length: batches + 1 }, (_, b) => Math.floor((b * samples) / batches));
      const sizes = starts.slice(1).map((end, b) => end - starts[b]);
      const length = sizes.reduce((sum, size) => sum + (size * (size + 1)) / 2, 0);
      const values =
        centered.data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
      let at = 0;
      for (const [b, size] of sizes.entries()) {
        const batch = tensor(centered.data, [size, features], [features, 1], starts[b] * features);
        const kernel = upperTriangle(uCenter(await gram(batch, ctx)));
        // HSIC₁ of a batch is the inner product over n(n − 3).
        const scale = size > 3 ? 1 / Math.sqrt(size * (size - 3)) : 1;
        for (const value of kernel) values[at++] = value * scale;
      }
      return unitKernel(samples, values);
    },
    compare: alignment,
    compareAll: alignmentOfAll,
  }),
});
