import {
  contiguousData,
  type FittedEmbedding,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type RunContext,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { type AffinityGraph, type AffinityGraphOptions, affinityGraph } from "./affinity-graph.js";
import { markovChain, markovSpectrum } from "./markov-spectrum.js";
import { vonNeumannTime } from "./von-neumann-time.js";

export interface SpectralMapOptions {
  readonly graph: AffinityGraphOptions;
  /** Density normalisation, 0 … 1. */
  readonly alpha: number;
  /** Diffusion time; "auto" by von Neumann entropy. */
  readonly time: number | "auto";
  /** Coordinates; "auto" by the largest spectral gap. */
  readonly dimensions: number | "auto";
  readonly maximumDimensions: number;
}

/** Neighbouring eigenvalues closer than this share of the larger are called degenerate. */
const degenerateShare = 1e-3;
/**
 * By the points' dtype: residuals of eigenpairs that are within reach, as a share of the spectrum's spread, and what cannot be told
 * from rounding, be it an eigenvalue's distance from 0 or from 1.
 */
const precision = {
  float32: { tolerance: 1e-5, rounding: 1e-6 },
  float64: { tolerance: 1e-10, rounding: 1e-12 },
};
/** Affinities of new points held at a time: 64 MiB in float64. */
const blockElements = 1 << 23;

/**
 * Eigenvectors of a random walk on the points as coordinates λᵗψ, with Nyström's formula for new points; what `diffusion-map` and
 * `laplacian-eigenmap` have in common.
 *
 * @param points - [samples, features]
 * @throws DIMENSIONS_TOO_MANY, SAMPLES_TOO_FEW, POINTS_NOT_FINITE, POINTS_IDENTICAL, BANDWIDTH_ZERO; POINT_OUT_OF_REACH from `transform`
 */
export async function spectralMap(
  points: Matrix,
  options: SpectralMapOptions,
  ctx: RunContext,
): Promise<Required<FittedEmbedding>> {
  const { rows } = matrixSize(points, "points");
  const wanted =
    options.dimensions === "auto" ? Math.min(options.maximumDimensions, rows - 1) : options.dimensions;
  if (wanted < 1 || wanted >= rows) {
    throw new LayerfoldError("DIMENSIONS_TOO_MANY", "too few samples for that many dimensions", {
      wanted: `at least ${Math.max(wanted, 1) + 1} samples`,
      got: `${rows}`,
    });
  }
  const graph = await affinityGraph(points, options.graph, ctx);
  throwIfAborted(ctx.signal);
  const chain = markovChain(graph.affinity, options.alpha);
  const { tolerance, rounding } = points.data instanceof Float64Array ? precision.float64 : precision.float32;
  const spectrum = await markovSpectrum(chain, wanted, tolerance, ctx);
  const dimensions = options.dimensions === "auto" ? dimensionsByGap(spectrum.values, wanted) : wanted;
  const time = options.time === "auto" ? await vonNeumannTime(chain, ctx) : options.time;
  const lambda = spectrum.values.subarray(0, Math.min(dimensions + 1, spectrum.values.length));
  reportSpectrum(graph, lambda, dimensions, rounding, ctx);

  const width = spectrum.values.length;
  const coordinates = new Float64Array(rows * dimensions);
  // Columns for Nyström: p_j^−α · λ^(t−1) · ψ_k(j), and p_j^−α alone for the row sums.
  const extension = new Float64Array(rows * (dimensions + 1));
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < dimensions; k++) {
      // λ^t of a negative λ is no number for most t, and Nyström would divide by a λ of 0: both were reported.
      const positive = lambda[k] > rounding;
      const value = (positive ? lambda[k] : 0) ** time * spectrum.vectors.data[i * width + k];
      coordinates[i * dimensions + k] = value;
      extension[i * (dimensions + 1) + k] = positive ? (chain.columnWeights[i] * value) / lambda[k] : 0;
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
  rounding: number,
  ctx: RunContext,
): void {
  const warn = (code: string, message: string) => {
    ctx.report?.({ type: "diagnostic", severity: "warning", code, message });
  };
  const components = graph.affinity.componentCount();
  if (components > 1 || values[0] > 1 - rounding) {
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
  const positive = values.subarray(0, dimensions).filter((value) => value > rounding).length;
  if (positive < dimensions) {
    warn(
      "EIGENVALUES_NOT_POSITIVE",
      `only ${positive} of ${dimensions} eigenvalues are positive: the other coordinates mean nothing, and are 0 for new points`,
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
  const narrow = tensor(new Float32Array(extension.data), extension.shape);
  const step = Math.max(1, Math.floor(blockElements / size));
  for (let start = 0; start < rows; start += step) {
    throwIfAborted(ctx.signal);
    const count = Math.min(step, rows - start);
    const block = tensor(values, [count, columns], [columns, 1], start * columns);
    const affinities = await graph.affinitiesFrom(block, ctx);
    const right = affinities.data instanceof Float64Array ? extension : narrow;
    const { data } = await ctx.engine.matmul<Matrix>(affinities, right);
    for (let i = 0; i < count; i++) {
      const sum = data[i * width + dimensions];
      if (!(sum > 0)) {
        throw new LayerfoldError("POINT_OUT_OF_REACH", "a new point has no affinity to any fitted one", {
          wanted: "a larger bandwidth, or another kernel",
          where: `row ${start + i}`,
        });
      }
      for (let k = 0; k < dimensions; k++) {
        out[(start + i) * dimensions + k] = data[i * width + k] / sum;
      }
    }
    ctx.report?.({ type: "progress", stage: "transform", done: start + count, total: rows, unit: "samples" });
  }
  return tensor(out, [rows, dimensions]);
}
