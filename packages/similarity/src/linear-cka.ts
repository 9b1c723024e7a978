import { defineSimilarity, type Matrix, type RunContext, z } from "@layerfold/core";
import { centeredLayer, innerProduct } from "./centered-layer.js";
import { alignment, alignmentOfAll, type CenteredKernel, unitKernel } from "./kernel-alignment.js";
import { checkPaired } from "./same-shape.js";

const optionsSchema = z.strictObject({});

/** A layer holds its kernel [n, n] up to this many samples, 64 MiB in float32; beyond, products of features are formed per pair. */
const kernelSamples = 4096;

interface PreparedLayer {
  readonly centered: Matrix;
  readonly kernel?: CenteredKernel;
  /** ‖XᵀX‖_F, where there is no kernel. */
  readonly norm?: number;
}

/**
 * Linear centred kernel alignment ‖Xᵀ Y‖_F² / (‖XᵀX‖_F ‖YᵀY‖_F) of the centred layers, in [0, 1] (Kornblith et al. 2019, arXiv 1905.00414,
 * eq. 3 and 4). Invariant to rotation and isotropic scale; widths may differ. It grows with features / samples even for independent
 * layers: see `debiased-cka`.
 *
 * @throws LAYER_CONSTANT, SAMPLE_COUNT_MISMATCH. With few samples beside the features one [n, n] product per layer (2n²D operations in the
 *   engine; n² numbers kept) and n² operations per pair; else 2nD² operations per pair.
 */
export const linearCka = defineSimilarity<PreparedLayer, typeof optionsSchema>({
  id: "linear-cka",
  summary: "linear centred kernel alignment",
  optionsSchema,
  create: () => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [0, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation"],
    },
    async prepare(layer, ctx) {
      const centered = centeredLayer(layer);
      const [samples, features] = centered.shape;
      if (samples <= kernelSamples && samples <= 8 * features) {
        const gram = await ctx.engine.matmul(centered, centered, { transposeB: true });
        return { centered, kernel: unitKernel(samples, gram.data) };
      }
      return { centered, norm: Math.sqrt(await squaredNorm(centered, centered, ctx)) };
    },
    async compare(a, b, ctx) {
      checkPaired(a.centered, b.centered);
      if (a.kernel && b.kernel) return alignment(a.kernel, b.kernel);
      return (
        (await squaredNorm(a.centered, b.centered, ctx)) / ((await normOf(a, ctx)) * (await normOf(b, ctx)))
      );
    },
    compareAll(prepared, ctx) {
      const kernels = prepared.flatMap(({ kernel }) => kernel ?? []);
      return kernels.length === prepared.length ? alignmentOfAll(kernels, ctx) : undefined;
    },
  }),
});

/** ‖AᵀB‖_F² */
async function squaredNorm(a: Matrix, b: Matrix, ctx: RunContext): Promise<number> {
  const { data } = await ctx.engine.matmul(a, b, { transposeA: true });
  return innerProduct(data, data);
}

/** A layer that has a kernel knows its norm only when it meets one that has not. */
async function normOf({ centered, norm }: PreparedLayer, ctx: RunContext): Promise<number> {
  return norm ?? Math.sqrt(await squaredNorm(centered, centered, ctx));
}
