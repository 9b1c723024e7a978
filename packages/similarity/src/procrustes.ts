import { defineSimilarity, type Matrix, tensor, z } from "@layerfold/core";
import { symmetricEigen } from "@layerfold/linalg";
import { centeredLayer, inFloat64, innerProduct } from "./centered-layer.js";
import { orthonormalBasis } from "./orthonormal-basis.js";
import { checkPaired } from "./same-shape.js";

const optionsSchema = z.strictObject({
  form: z
    .enum(["angular", "cosine"])
    .default("angular")
    .describe("cosine: the nuclear norm itself; angular: 1 − its arccosine · 2/π"),
});

/**
 * Orthogonal Procrustes similarity: the cosine ‖Xᵀ Y‖_* / (‖X‖_F ‖Y‖_F) of the angle θ between the centred layers after the best rotation
 * (Schönemann 1966), or 1 − 2θ/π, whose complement is a metric (Williams et al. 2021, arXiv 2110.14739, eq. 7); in [0, 1].
 *
 * @throws LAYER_CONSTANT, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE. O(n m²) in the engine and 7m³ operations here per pair, m = min(samples,
 *   features); meant for embedded layers or some hundred features.
 */
export const procrustes = defineSimilarity<Matrix<Float64Array>, typeof optionsSchema>({
  id: "procrustes",
  summary: "alignment after the best rotation",
  optionsSchema,
  create: ({ form }) => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [0, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation"],
    },
    async prepare(layer, ctx) {
      const [samples, features] = layer.shape;
      if (features <= samples) return unitNorm(inFloat64(centeredLayer(layer)));
      // Rotated to its principal axes a layer needs no more columns than samples.
      const { basis, singularValues } = await orthonormalBasis(layer, ctx);
      const rank = singularValues.length;
      const values = new Float64Array(samples * rank);
      for (let i = 0, at = 0; i < samples; i++) {
        for (let k = 0; k < rank; k++, at++) {
          values[at] = basis.data[i * basis.stride[0] + k * basis.stride[1]] * singularValues[k];
        }
      }
      return unitNorm(tensor(values, [samples, rank]));
    },
    async compare(a, b, ctx) {
      checkPaired(a, b);
      const cross = await ctx.engine.matmul(a, b, { transposeA: true });
      // The smaller Gram matrix has no more zero eigenvalues than it must.
      const [rows, columns] = cross.shape;
      const gram = await ctx.engine.matmul(
        cross,
        cross,
        rows < columns ? { transposeB: true } : { transposeA: true },
      );
      const { values } = symmetricEigen(gram);
      const nuclear = values.reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0);
      return form === "cosine" ? nuclear : 1 - (2 / Math.PI) * Math.acos(Math.min(1, nuclear));
    },
  }),
});

function unitNorm(matrix: Matrix<Float64Array>): Matrix<Float64Array> {
  const norm = Math.sqrt(innerProduct(matrix.data, matrix.data));
  return tensor(
    matrix.data.map((value) => value / norm),
    matrix.shape,
  );
}
