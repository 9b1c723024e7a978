import { defineSimilarity, type Matrix, matrixSize, type RunContext, z } from "@layerfold/core";
import { gram } from "@layerfold/linalg";
import { centeredLayer, innerProduct } from "./centered-layer.js";
import {
  alignment,
  alignmentOfAll,
  type CenteredKernel,
  unitKernel,
  upperTriangle,
} from "./kernel-alignment.js";
import { checkPaired } from "./same-shape.js";

const optionsSchema = z.strictObject({});

/** A layer holds its kernel [n, n] up to this many samples, 32 MiB in float32; beyond, products of features are formed per pair. */
const kernelSamples = 4096;

interface PreparedLayer {
  readonly layer: Matrix;
  readonly kernel?: CenteredKernel;
  readonly features?: CenteredFeatures;
}

interface CenteredFeatures {
  readonly centered: Matrix;
  /** ‖XᵀX‖_F */
  readonly norm: number;
}

/**
 * Linear centred kernel alignment ‖Xᵀ Y‖_F² / (‖XᵀX‖_F ‖YᵀY‖_F) of the centred layers, in [0, 1] (Kornblith et al. 2019, arXiv 1905.00414,
 * eq. 3 and 4). Invariant to rotation and isotropic scale; widths may differ. It grows with features / samples even for independent
 * layers: see `debiased-cka`.
 *
 * @throws LAYER_CONSTANT, SAMPLE_COUNT_MISMATCH. With few samples beside the features one [n, n] Gram matrix per layer (n²D operations in
 *   the engine; n²/2 numbers kept) and n² operations per pair; else 2nD² operations per pair.
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
      const { rows, columns } = matrixSize(layer, "layer");
      if (rows > kernelSamples || rows > 8 * columns)
        return { layer, features: await centeredFeatures(layer, ctx) };
      return { layer, kernel: unitKernel(rows, upperTriangle(await gram(centeredLayer(layer), ctx))) };
    },
    async compare(a, b, ctx) {
      checkPaired(a.layer, b.layer);
      if (a.kernel && b.kernel) return alignment(a.kernel, b.kernel);
      // Layers of very different widths: one has a kernel, the other has not.
      const first = a.features ?? (await centeredFeatures(a.layer, ctx));
      const second = b.features ?? (await centeredFeatures(b.layer, ctx));
      return (await squaredNorm(first.centered, second.centered, ctx)) / (first.norm * second.norm);
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

async function centeredFeatures(layer: Matrix, ctx: RunContext): Promise<CenteredFeatures> {
  const centered = centeredLayer(layer);
  return { centered, norm: Math.sqrt(await squaredNorm(centered, centered, ctx)) };
}
