import {
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
import { nearestNeighbors, squaredDistances } from "@layerfold/linalg";
import type { SparseRows } from "./affinity.js";
import { barnesHutRepulsion } from "./barnes-hut.js";
import { pca } from "./pca.js";

const optionsSchema = z.strictObject({
  dimensions: z.int().min(1).max(10).default(2).describe("coordinates of a sample"),
  perplexity: z.number().min(1).default(30).describe("effective number of neighbours of a point"),
  iterations: z.int().min(1).default(1000).describe("gradient steps"),
  learningRate: z
    .union([z.number().positive(), z.literal("auto")])
    .default("auto")
    .describe('step size; "auto": samples / (4 · earlyExaggeration), at least 50 (Belkina et al. 2019)'),
  earlyExaggeration: z
    .number()
    .min(1)
    .default(12)
    .describe("factor on the attraction during the first quarter of the iterations"),
  method: z
    .enum(["auto", "exact", "barnes-hut"])
    .default("auto")
    .describe(
      'all pairs, or neighbours and a quadtree (two dimensions only); "auto": `exact` up to 1,000 samples or off the plane',
    ),
  theta: z.number().min(0).max(1).default(0.5).describe("opening angle of the quadtree"),
});

/** Largest sample count that "auto" treats exactly. */
const exactLimit = 1000;
/** Iterations between two looks at the clock: progress, cancellation. */
const breath = 25;

/**
 * t-SNE (van der Maaten & Hinton 2008, JMLR 9; Barnes–Hut: van der Maaten 2014, JMLR 15).
 *
 * P from Gaussian affinities of the given perplexity, symmetrised; Q from the Student kernel 1/(1 + ‖y_i − y_j‖²); gradient descent on
 * KL(P‖Q) with momentum, gains and early exaggeration, from the principal components scaled to a standard deviation of 10⁻⁴.
 * Axes have no meaning of their own, and distances between clusters little; new points cannot be placed.
 *
 * `fit` returns coordinates [samples, dimensions] float64. Deterministic.
 *
 * Errors: SAMPLES_TOO_FEW (samples − 1 must exceed the perplexity), OPTION_INVALID (`barnes-hut` off the plane), POINTS_NOT_FINITE,
 * POINTS_IDENTICAL, DIMENSIONS_TOO_MANY, INTERRUPTED. Cost per iteration: samples² (`exact`) or samples · log samples.
 */
export const tSne = defineEmbedding({
  id: "t-sne",
  summary: "t-distributed stochastic neighbour embedding, exact or Barnes–Hut",
  optionsSchema,
  create: (options) => ({
    async fit(points: Matrix, ctx: RunContext): Promise<FittedEmbedding> {
      const { dimensions, perplexity, iterations, earlyExaggeration } = options;
      const { rows } = matrixSize(points, "points");
      if (rows - 1 <= perplexity) {
        throw new LayerfoldError("SAMPLES_TOO_FEW", "too few samples for the perplexity", {
          wanted: `more than ${perplexity + 1}`,
          got: `${rows}`,
        });
      }
      const byTree =
        options.method === "auto" ? dimensions === 2 && rows > exactLimit : options.method === "barnes-hut";
      if (byTree && dimensions !== 2) {
        throw new LayerfoldError("OPTION_INVALID", "the quadtree works in the plane", {
          wanted: "2",
          got: `${dimensions}`,
          where: "embedding t-sne, option dimensions",
        });
      }
      const start = (await pca({ dimensions }).fit(points, ctx)).coordinates.data;
      let variance = 0;
      for (let i = 0; i < rows; i++) variance += start[i * dimensions] ** 2 / rows;
      const y = Float64Array.from(start, (value) => (1e-4 * value) / Math.sqrt(variance));
      const affinities = await jointAffinities(points, perplexity, byTree, ctx);

      const rate =
        options.learningRate === "auto" ? Math.max(rows / earlyExaggeration / 4, 50) : options.learningRate;
      const exaggerated = Math.floor(iterations / 4);
      const velocity = new Float64Array(y.length);
      const gains = new Float64Array(y.length).fill(1);
      for (let step = 0; step < iterations; step++) {
        if (step % breath === 0) {
          ctx.report?.({
            type: "progress",
            stage: "t-sne",
            done: step,
            total: iterations,
            unit: "iterations",
          });
          await new Promise((resolve) => setTimeout(resolve, 0));
          throwIfAborted(ctx.signal);
        }
        const early = step < exaggerated;
        const repulsion = byTree ? { theta: options.theta } : "exact";
        const gradient = tSneGradient(y, dimensions, affinities, early ? earlyExaggeration : 1, repulsion);
        for (let i = 0; i < y.length; i++) {
          gains[i] = gradient[i] * velocity[i] < 0 ? gains[i] + 0.2 : Math.max(gains[i] * 0.8, 0.01);
          velocity[i] = (early ? 0.5 : 0.8) * velocity[i] - rate * gains[i] * gradient[i];
          y[i] += velocity[i];
        }
      }
      return { coordinates: tensor(y, [rows, dimensions]) };
    },
  }),
});

/**
 * ∂KL(P‖Q)/∂y = 4 Σ_j (x·p_ij − q_ij/Z)·q_ij·(y_i − y_j), q_ij = 1/(1 + ‖y_i − y_j‖²), Z = Σ q.
 *
 * @param y - [count, dimensions]
 * @param exaggeration - the factor x
 */
export function tSneGradient(
  y: Float64Array,
  dimensions: number,
  affinities: SparseRows,
  exaggeration: number,
  repulsion: "exact" | { readonly theta: number },
): Float64Array {
  const count = y.length / dimensions;
  const gradient = new Float64Array(y.length);
  const total =
    repulsion === "exact"
      ? exactRepulsion(y, dimensions, gradient)
      : barnesHutRepulsion(y, repulsion.theta, gradient);
  for (let i = 0; i < gradient.length; i++) gradient[i] *= -4 / total;
  const { starts, columns, values } = affinities;
  for (let i = 0; i < count; i++) {
    for (let at = starts[i]; at < starts[i + 1]; at++) {
      const j = columns[at];
      let squared = 0;
      for (let d = 0; d < dimensions; d++) squared += (y[i * dimensions + d] - y[j * dimensions + d]) ** 2;
      const pull = (4 * exaggeration * values[at]) / (1 + squared);
      for (let d = 0; d < dimensions; d++) {
        gradient[i * dimensions + d] += pull * (y[i * dimensions + d] - y[j * dimensions + d]);
      }
    }
  }
  return gradient;
}

function exactRepulsion(y: Float64Array, dimensions: number, forces: Float64Array): number {
  const count = y.length / dimensions;
  let total = 0;
  for (let i = 0; i < count; i++) {
    for (let j = i + 1; j < count; j++) {
      let squared = 0;
      for (let d = 0; d < dimensions; d++) squared += (y[i * dimensions + d] - y[j * dimensions + d]) ** 2;
      const q = 1 / (1 + squared);
      total += 2 * q;
      for (let d = 0; d < dimensions; d++) {
        const force = q * q * (y[i * dimensions + d] - y[j * dimensions + d]);
        forces[i * dimensions + d] += force;
        forces[j * dimensions + d] -= force;
      }
    }
  }
  return total;
}

/**
 * P = (p_{j|i} + p_{i|j}) / 2n over all pairs, or over the 3 · perplexity nearest neighbours of either point.
 * @returns rows that sum to 1 altogether
 */
export async function jointAffinities(
  points: Matrix,
  perplexity: number,
  neighborsOnly: boolean,
  ctx: RunContext,
): Promise<SparseRows> {
  const size = points.shape[0];
  const joint = Array.from({ length: size }, () => new Map<number, number>());
  const add = (i: number, j: number, p: number) => {
    joint[i].set(j, (joint[i].get(j) ?? 0) + p / (2 * size));
    joint[j].set(i, (joint[j].get(i) ?? 0) + p / (2 * size));
  };
  const neighborCount = Math.min(size - 1, Math.floor(3 * perplexity));
  if (neighborsOnly) {
    const { indices, squaredDistances: squared } = await nearestNeighbors(points, neighborCount, ctx);
    for (let i = 0; i < size; i++) {
      const from = i * neighborCount;
      const weights = conditionalAffinities(squared.subarray(from, from + neighborCount), perplexity);
      weights.forEach((p, k) => {
        add(i, indices[from + k], p);
      });
    }
  } else {
    const { data } = await squaredDistances(points, ctx);
    for (let i = 0; i < size; i++) {
      const others = new Float64Array(data.subarray(i * size, (i + 1) * size)).filter((_, j) => j !== i);
      conditionalAffinities(others, perplexity).forEach((p, k) => {
        add(i, k < i ? k : k + 1, p);
      });
    }
  }
  const starts = new Int32Array(size + 1);
  joint.forEach((row, i) => {
    starts[i + 1] = starts[i] + row.size;
  });
  const columns = new Int32Array(starts[size]);
  const values = new Float64Array(starts[size]);
  joint.forEach((row, i) => {
    columns.set([...row.keys()], starts[i]);
    values.set([...row.values()], starts[i]);
  });
  return { starts, columns, values };
}

/**
 * p_j ∝ exp(−β·D_j²) with β such that the entropy is log(perplexity), by bisection to 10⁻¹⁰ nats.
 * With that many duplicates or more no β can get there: the result is then uniform over the nearest.
 *
 * @param squared - [count] squared distances, count > perplexity
 */
export function conditionalAffinities(squared: Float64Array, perplexity: number): Float64Array {
  const target = Math.log(perplexity);
  const nearest = squared.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  const weights = new Float64Array(squared.length);
  let [low, high, beta] = [0, Number.POSITIVE_INFINITY, 1];
  for (let step = 0; step < 200; step++) {
    let sum = 0;
    let moment = 0;
    for (let j = 0; j < squared.length; j++) {
      // Subtracting the nearest distance changes no p and keeps the sum above 0.
      const above = squared[j] - nearest;
      weights[j] = Math.exp(-beta * above);
      sum += weights[j];
      moment += weights[j] * above;
    }
    const excess = Math.log(sum) + (beta * moment) / sum - target;
    for (let j = 0; j < weights.length; j++) weights[j] /= sum;
    if (Math.abs(excess) < 1e-10) break;
    if (excess > 0) {
      low = beta;
      beta = high === Number.POSITIVE_INFINITY ? beta * 2 : (low + high) / 2;
    } else {
      high = beta;
      beta = (low + high) / 2;
    }
  }
  return weights;
}
