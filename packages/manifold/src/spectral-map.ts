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
/** An eigenvalue this close to 1 means a graph in pieces, as far as floating-point numbers can tell. */
const disconnectedGap = 1e-9;
/** Affinities of new points held at a time: 64 MiB in float64. */
const blockElements = 1 << 23;

/**
 * Eigenvectors of a random walk on the points as coordinates λᵗψ, with Nyström's formula for new points; what `diffusion-map` and
 * `laplacian-eigenmap` have in common.
 *
 * @param points - [samples, features]
 * @throws DIMENSIONS_TOO_MANY, SAMPLES_TOO_FEW, POINTS_NOT_FINITE, POINTS_IDENTICAL, BANDWIDTH_ZERO
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
  return points.data instanceof Float64Array ? 1e-10 : 1e-5;
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
