import {
  defineEmbedding,
  type FittedEmbedding,
  type Matrix,
  matrixSize,
  type RunContext,
  z,
} from "@layerfold/core";
import { spectralMap } from "./spectral-map.js";
import { takeRows } from "./take-rows.js";

const optionsSchema = z.strictObject({
  kernel: z
    .enum(["mka", "gaussian", "self-tuning"])
    .default("mka")
    .describe(
      "`mka`: exp(−√(D/σ)); `gaussian`: exp(−D²/ε); `self-tuning`: exp(−D²/(σᵢσⱼ)), σᵢ the distance to a near neighbour",
    ),
  bandwidth: z
    .union([z.number().positive(), z.enum(["auto", "median", "neighbor", "max-slope"])])
    .default("auto")
    .describe(
      'σ of `mka` or ε of `gaussian`; "auto": 8 for `mka`, "median" for `gaussian`. No use for `self-tuning`',
    ),
  neighborCount: z
    .int()
    .min(1)
    .default(7)
    .describe(
      "the neighbour whose distance sets local scales (`self-tuning`) and the bandwidth rule `neighbor`",
    ),
  alpha: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe("density normalisation: 0 none (graph Laplacian), ½ Fokker–Planck, 1 Laplace–Beltrami"),
  time: z
    .union([z.number().min(0), z.literal("auto")])
    .default(0)
    .describe('diffusion time t; "auto": the knee of the von Neumann entropy'),
  dimensions: z
    .union([z.int().min(1), z.literal("auto")])
    .default(2)
    .describe('coordinates d; "auto": up to the largest spectral gap'),
  maximumDimensions: z.int().min(1).default(10).describe('where "auto" dimensions stop'),
  form: z
    .enum(["dense", "sparse", "landmark"])
    .default("dense")
    .describe(
      "all pairs, pairs of near neighbours, or all pairs of a random subset by which the others are placed",
    ),
  graphNeighborCount: z
    .int()
    .min(1)
    .default(32)
    .describe("neighbours that a point keeps in the `sparse` form"),
  landmarkCount: z
    .int()
    .min(3)
    .default(1000)
    .describe(
      "samples in the subset of the `landmark` form; with as many samples or fewer it equals `dense`",
    ),
});

/**
 * The diffusion map (Coifman & Lafon 2006, Appl. Comput. Harmon. Anal. 21), as MKA uses it (arXiv 2406.16330, §3.1; its constants
 * are the defaults).
 *
 * Kernel K of the Euclidean distances; p = K·1; K¹ = K/(p·pᵀ)^α; v = √(K¹·1); A = K¹/(v·vᵀ) with eigenpairs λ₀ = 1 ≥ λ₁ ≥ …; ψ_k = u_k/u₀.
 * Coordinates Y = [λ₁ᵗψ₁ … λ_dᵗψ_d]; in every ψ the entry of largest magnitude is positive. The trivial pair is known in closed form,
 * and the others come from a truncated solver. New points are placed by Nyström's formula ψ_k(y) = λ_k⁻¹ Σ_j P(y, x_j) ψ_k(x_j), which
 * gives a training point its own coordinates again.
 *
 * `fit` returns coordinates [samples, d] float64, and eigenvalues λ₀ = 1, λ₁ … λ_d and the one after, descending; those of a float32
 * input are right to about 1e-6. `form: "landmark"` fits a seeded random subset and places all samples by Nyström (Bengio et al. 2004).
 *
 * Errors: DIMENSIONS_TOO_MANY (d ≥ samples), SAMPLES_TOO_FEW, POINTS_NOT_FINITE (names the row), POINTS_IDENTICAL, BANDWIDTH_ZERO;
 * POINT_OUT_OF_REACH for a new point whose affinities all vanish.
 * Reports: EIGENVALUES_DEGENERATE (coordinates may rotate freely), GRAPH_DISCONNECTED, EIGENVALUES_NOT_POSITIVE.
 * Cost: one product samples² · features, then memory samples² in the points' dtype; `landmark`: landmarks · samples · features.
 *
 * @example
 * ```ts
 * const circle = tensor(Float64Array.from({ length: 80 }, (_, i) => (i % 2 ? Math.sin : Math.cos)(0.15 * (i >> 1))), [40, 2]);
 * const { coordinates, eigenvalues } = await diffusionMap({ kernel: "gaussian", alpha: 1 }).fit(circle, ctx);
 * assert(coordinates.shape.join() === "40,2");
 * assert(eigenvalues !== undefined && eigenvalues[0] === 1 && eigenvalues[1] < 1);
 * ```
 */
export const diffusionMap = defineEmbedding({
  id: "diffusion-map",
  summary: "coordinates of a random walk on the samples (Coifman & Lafon 2006; MKA's embedding)",
  optionsSchema,
  create: (options) => ({
    async fit(points: Matrix, ctx: RunContext): Promise<FittedEmbedding> {
      const { rows } = matrixSize(points, "points");
      const { kernel, bandwidth, neighborCount, form, landmarkCount } = options;
      const map = {
        ...options,
        graph: {
          kernel,
          bandwidth: bandwidth === "auto" ? (kernel === "mka" ? 8 : "median") : bandwidth,
          neighborCount,
          graphNeighborCount: form === "sparse" ? options.graphNeighborCount : undefined,
        },
      } as const;
      if (form !== "landmark" || rows <= landmarkCount) return spectralMap(points, map, ctx);
      const chosen = ctx.rng.fork("landmarks").permutation(rows).subarray(0, landmarkCount).sort();
      const fitted = await spectralMap(takeRows(points, chosen), map, ctx);
      return { ...fitted, coordinates: await fitted.transform(points, ctx) };
    },
  }),
});
