import {
  contiguousData,
  defineEmbedding,
  type FittedEmbedding,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type RunContext,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { type AffinityGraph, affinityGraph } from "./affinity-graph.js";
import { markovChain, markovSpectrum } from "./markov-spectrum.js";
import { vonNeumannTime } from "./von-neumann-time.js";

const optionsSchema = z.strictObject({
  kernel: z.enum(["mka", "gaussian", "self-tuning"]).default("mka"),
  /** σ of `mka` or ε of `gaussian`; "auto": 8 for `mka`, "median" for `gaussian`. No use for `self-tuning`. */
  bandwidth: z
    .union([z.number().positive(), z.enum(["auto", "median", "neighbor", "max-slope"])])
    .default("auto"),
  /** The neighbour whose distance sets local scales (`self-tuning`) and the bandwidth rule `neighbor`. */
  neighborCount: z.int().min(1).default(7),
  /** Density normalisation: 0 none (graph Laplacian), ½ Fokker–Planck, 1 Laplace–Beltrami. */
  alpha: z.number().min(0).max(1).default(0.5),
  /** Diffusion time t; "auto": the knee of the von Neumann entropy. */
  time: z.union([z.number().min(0), z.literal("auto")]).default(0),
  /** Coordinates d; "auto": up to the largest spectral gap. */
  dimensions: z.union([z.int().min(1), z.literal("auto")]).default(2),
  /** Where "auto" dimensions stop. */
  maximumDimensions: z.int().min(1).default(10),
  /** All pairs, pairs of near neighbours, or all pairs of a random subset by which the others are placed. */
  form: z.enum(["dense", "sparse", "landmark"]).default("dense"),
  /** Neighbours that a point keeps in the `sparse` form. */
  graphNeighborCount: z.int().min(1).default(32),
  /** Samples in the subset of the `landmark` form; with as many samples or fewer it equals `dense`. */
  landmarkCount: z.int().min(3).default(1000),
});

type Options = z.output<typeof optionsSchema>;

/** Neighbouring eigenvalues closer than this share of the larger are called degenerate. */
const degenerateShare = 1e-3;
/** An eigenvalue this close to 1 means a graph in pieces, as far as floating-point numbers can tell. */
const disconnectedGap = 1e-9;
/** Affinities of new points held at a time: 64 MiB in float64. */
const blockElements = 1 << 23;

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
 * Errors: DIMENSIONS_TOO_MANY (d ≥ samples), SAMPLES_TOO_FEW, POINTS_NOT_FINITE (names the row), POINTS_IDENTICAL, BANDWIDTH_ZERO.
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
      if (options.form !== "landmark" || rows <= options.landmarkCount) return fitWhole(points, options, ctx);
      const chosen = ctx.rng.fork("landmarks").permutation(rows).subarray(0, options.landmarkCount).sort();
      const fitted = await fitWhole(takeRows(points, chosen), options, ctx);
      return { ...fitted, coordinates: await fitted.transform(points, ctx) };
    },
  }),
});

async function fitWhole(points: Matrix, options: Options, ctx: RunContext) {
  const { rows } = matrixSize(points, "points");
  const wanted =
    options.dimensions === "auto" ? Math.min(options.maximumDimensions, rows - 1) : options.dimensions;
  if (wanted < 1 || wanted >= rows) {
    throw new LayerfoldError(
      "DIMENSIONS_TOO_MANY",
      "fewer samples than a diffusion map of that many dimensions needs",
      {
        wanted: `at least ${Math.max(wanted, 1) + 1} samples`,
        got: `${rows}`,
      },
    );
  }
  const graph = await affinityGraph(
    points,
    {
      kernel: options.kernel,
      bandwidth: options.bandwidth === "auto" ? (options.kernel === "mka" ? 8 : "median") : options.bandwidth,
      neighborCount: options.neighborCount,
      graphNeighborCount: options.form === "sparse" ? options.graphNeighborCount : undefined,
    },
    ctx,
  );
  throwIfAborted(ctx.signal);
  const chain = markovChain(graph.affinity, options.alpha);
  // One more than is kept, so that the gap behind the last coordinate is known.
  const spectrum = await markovSpectrum(chain, Math.min(wanted + 1, rows - 1), toleranceFor(points), ctx);
  const dimensions = options.dimensions === "auto" ? dimensionsByGap(spectrum.values, wanted) : wanted;
  const time = options.time === "auto" ? await vonNeumannTime(chain, ctx) : options.time;
  const lambda = spectrum.values.subarray(0, Math.min(dimensions + 1, spectrum.values.length));
  reportSpectrum(graph, lambda, dimensions, ctx);

  const width = spectrum.values.length;
  const coordinates = new Float64Array(rows * dimensions);
  // Columns for Nyström: p_j^−α · λ^(t−1) · ψ_k(j), and p_j^−α alone for the row sums.
  const extension = new Float64Array(rows * (dimensions + 1));
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < dimensions; k++) {
      const value = lambda[k] ** time * spectrum.vectors.data[i * width + k];
      coordinates[i * dimensions + k] = value;
      extension[i * (dimensions + 1) + k] = (chain.columnWeights[i] * value) / lambda[k];
    }
    extension[i * (dimensions + 1) + dimensions] = chain.columnWeights[i];
  }
  return {
    coordinates: tensor(coordinates, [rows, dimensions]),
    eigenvalues: Float64Array.of(1, ...lambda),
    transform: (queries: Matrix, context: RunContext) =>
      extend(graph, queries, tensor(extension, [rows, dimensions + 1]), context),
  };
}

/** Residuals that the points' dtype can reach, as a share of the spectrum's spread. */
function toleranceFor(points: Matrix): number {
  return points.data instanceof Float64Array ? 1e-10 : 1e-6;
}

/** d with the largest drop from λ_d to λ_{d+1}. */
function dimensionsByGap(values: Float64Array, most: number): number {
  let best = 1;
  for (let d = 2; d <= most && d < values.length; d++) {
    if (values[d - 1] - values[d] > values[best - 1] - values[best]) best = d;
  }
  return best;
}

function reportSpectrum(
  graph: AffinityGraph,
  values: Float64Array,
  dimensions: number,
  ctx: RunContext,
): void {
  const warn = (code: string, message: string) => {
    ctx.report?.({ type: "diagnostic", severity: "warning", code, message });
  };
  const components = graph.affinity.componentCount();
  if (components > 1 || values[0] > 1 - disconnectedGap) {
    const pieces = components > 1 ? `${components} components` : "pieces, as far as rounding can tell";
    warn(
      "GRAPH_DISCONNECTED",
      `the affinity graph falls into ${pieces}: leading coordinates only tell them apart`,
    );
  }
  for (let k = 0; k + 1 < values.length; k++) {
    const [larger, smaller] = [values[k], values[k + 1]];
    if (larger - smaller <= degenerateShare * Math.abs(larger)) {
      warn(
        "EIGENVALUES_DEGENERATE",
        `eigenvalues ${k + 1} and ${k + 2} nearly coincide (${larger.toPrecision(6)}, ${smaller.toPrecision(6)}): ` +
          "their coordinates may rotate freely",
      );
    }
  }
  if (!(values[dimensions - 1] > 0)) {
    warn(
      "EIGENVALUES_NOT_POSITIVE",
      `fewer than ${dimensions} eigenvalues are positive: the last coordinates mean nothing`,
    );
  }
}

/** Nyström: affinities to the training points, times the extension's columns, divided by the row sums. */
async function extend(
  graph: AffinityGraph,
  queries: Matrix,
  extension: Matrix<Float64Array>,
  ctx: RunContext,
): Promise<Matrix<Float64Array>> {
  const { rows, columns } = matrixSize(queries, "points");
  const [size, width] = extension.shape;
  const dimensions = width - 1;
  const values = contiguousData(queries);
  const out = new Float64Array(rows * dimensions);
  const narrow = tensor(Float32Array.from(extension.data), extension.shape);
  const step = Math.max(1, Math.floor(blockElements / size));
  for (let start = 0; start < rows; start += step) {
    throwIfAborted(ctx.signal);
    const count = Math.min(step, rows - start);
    const block = tensor(values, [count, columns], [columns, 1], start * columns);
    const affinities = await graph.affinitiesFrom(block, ctx);
    const right = affinities.data instanceof Float64Array ? extension : narrow;
    const { data } = await ctx.engine.matmul<Matrix>(affinities, right);
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < dimensions; k++) {
        out[(start + i) * dimensions + k] = data[i * width + k] / data[i * width + dimensions];
      }
    }
    ctx.report?.({ type: "progress", stage: "transform", done: start + count, total: rows, unit: "samples" });
  }
  return tensor(out, [rows, dimensions]);
}

function takeRows(points: Matrix, rows: Int32Array): Matrix {
  const columns = points.shape[1];
  const values = contiguousData(points);
  const length = rows.length * columns;
  const taken = values instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
  rows.forEach((row, i) => {
    taken.set(values.subarray(row * columns, (row + 1) * columns), i * columns);
  });
  return tensor(taken, [rows.length, columns]);
}
