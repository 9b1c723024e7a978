import { defineEmbedding, type Matrix, type RunContext, z } from "@layerfold/core";
import { spectralMap } from "./spectral-map.js";

/**
 * Laplacian eigenmaps (Belkin & Niyogi 2003, Neural Computation 15): L·y = μ·D·y on the graph of nearest neighbours with heat-kernel
 * weights W_ij = exp(−D_ij²/ε), the trivial y = 1 left out. Every point is also joined to itself, with weight 1, so that the
 * spectrum does not reach down to −1 (in the paper W_ii = 0).
 *
 * Each coordinate is scaled to yᵀDy = tr D (unit variance under the graph's degrees), its entry of largest magnitude positive.
 * `eigenvalues` are 1 − μ, descending, the trivial 1 first: those of the random walk on the graph. It is the sparse diffusion map with
 * α = 0 and t = 0; see `diffusion-map` for `transform`, errors and reports.
 */
export const laplacianEigenmap = defineEmbedding({
  id: "laplacian-eigenmap",
  summary: "eigenvectors of a neighbour graph's Laplacian (Belkin & Niyogi 2003)",
  optionsSchema: z.strictObject({
    dimensions: z.int().min(1).default(2).describe("coordinates of a sample"),
    graphNeighborCount: z.int().min(1).default(10).describe("neighbours that a point is joined to"),
    bandwidth: z
      .union([z.number().positive(), z.literal("median")])
      .default("median")
      .describe("ε of the heat kernel, or the squared median distance of joined pairs"),
  }),
  create: ({ dimensions, graphNeighborCount, bandwidth }) => ({
    fit: (points: Matrix, ctx: RunContext) =>
      spectralMap(
        points,
        {
          graph: { kernel: "gaussian", bandwidth, neighborCount: graphNeighborCount, graphNeighborCount },
          alpha: 0,
          time: 0,
          dimensions,
          maximumDimensions: dimensions,
        },
        ctx,
      ),
  }),
});
