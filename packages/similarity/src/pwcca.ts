import { defineSimilarity, z } from "@layerfold/core";
import { canonicalCorrelations } from "./canonical-correlations.js";
import { type OrthonormalBasis, orthonormalBasis } from "./orthonormal-basis.js";

const optionsSchema = z.strictObject({});

/**
 * Canonical correlations weighted by how much of the first layer they account for: Σ_i α_i ρ_i / Σ_i α_i, α_i = Σ_j |⟨h_i, x_j⟩|, h_i the
 * canonical variates and x_j the features of the first layer; in [0, 1], not symmetric (Morcos, Raghu & Bengio 2018, arXiv 1806.05759,
 * eq. 2 and 3).
 *
 * @throws as `cca` does, at the same cost
 */
export const pwcca = defineSimilarity<OrthonormalBasis, typeof optionsSchema>({
  id: "pwcca",
  summary: "canonical correlations weighted by their share of the first layer",
  optionsSchema,
  create: () => ({
    traits: {
      symmetric: false,
      stochastic: false,
      range: [0, 1],
      invariantTo: ["translation", "isotropic-scale"],
    },
    prepare: orthonormalBasis,
    async compare(a, b, ctx) {
      const { correlations, directions } = await canonicalCorrelations(a, b, ctx);
      const variates = await ctx.engine.matmul(a.basis, directions);
      const products = await ctx.engine.matmul(variates, a.centered, { transposeA: true });
      const features = products.shape[1];
      let weighted = 0;
      let total = 0;
      correlations.forEach((correlation, i) => {
        let weight = 0;
        for (let j = 0; j < features; j++) weight += Math.abs(products.data[i * features + j]);
        weighted += weight * correlation;
        total += weight;
      });
      return weighted / total;
    },
  }),
});
