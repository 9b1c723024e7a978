import {
  type Awaitable,
  defineSimilarity,
  LayerfoldError,
  type RunContext,
  tensor,
  threadCount,
  z,
} from "@layerfold/core";
import { comparePairs } from "./compare-pairs.js";
import {
  estimateInformation,
  type InformationOptions,
  type PreparedPoints,
  preparePoints,
} from "./estimate-information.js";
import { gaussianMutualInformation } from "./gaussian-mutual-information.js";
import { normalScores } from "./normal-scores.js";
import { histogramInformation, type RankHistogram, rankHistogram } from "./rank-histogram.js";
import { checkPaired, type Points, readPoints } from "./read-points.js";

const optionsSchema = z.strictObject({
  estimator: z
    .enum(["ksg1", "ksg2", "gaussian", "univariate", "rank-histogram"])
    .default("ksg1")
    .describe("how mutual information is estimated; geometric-entropy always uses rank-histogram"),
  neighborCount: z.number().int().min(1).default(5).describe("neighbours k of ksg1, ksg2 and univariate"),
  nonUniformityThreshold: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe("local non-uniformity correction of ksg1 and ksg2 below this share of volume; 0 = none"),
  margins: z
    .enum(["normal", "raw"])
    .default("normal")
    .describe("normal: each coordinate replaced by its normal scores; raw: as it is"),
  normalization: z
    .enum(["informational-correlation", "geometric-entropy"])
    .default("informational-correlation")
    .describe("sqrt(1 − exp(−2I)), or I / sqrt(H·H) of binned coordinates"),
  binCount: z.number().int().min(2).default(4).describe("bins per coordinate of rank-histogram"),
});

/** One layer's coordinates, made ready for the chosen estimator. */
interface PreparedLayer {
  /** As given: what decides whether two layers are the same. */
  readonly original: Points;
  readonly points: Points;
  /** Made when it is first asked for: threads make their own. */
  prepared?: PreparedPoints;
  readonly histogram?: RankHistogram;
}

/** Samples times pairs below which starting threads takes longer than they save: about half a second of work. */
const worthThreads = 200_000;

/**
 * The normalised pairwise information bottleneck of MKA (arXiv 2406.16330, eq. 6), in [0, 1], 1 for a layer with itself.
 *
 * MKA divides I(X;Y) by √(H(X) H(Y)). Differential entropies may be negative, so that quotient is not defined for continuous coordinates.
 * In its place stand, by `normalization`:
 * - `informational-correlation` (default): √(1 − e^{−2I}) (Linfoot 1957), which for Gaussians in one dimension is |ρ|. An estimate of I below 0
 *   counts as 0, since information is never negative; that is part of the definition.
 * - `geometric-entropy`: I / √(H(X) H(Y)) as MKA writes it, all three of the coordinates cut into `binCount` bins of equally many samples.
 *
 * It takes embedded coordinates [samples, d] with small d (embed first): densities cannot be estimated in many dimensions. With the default
 * `margins: "normal"` each coordinate is replaced by its normal scores, so the value depends on ranks only; equal values are put in an
 * order drawn from `ctx.rng`. Many pairs are shared among worker threads, as many as there are cores; their number changes no value.
 *
 * @throws SAMPLES_TOO_FEW (neighborCount + 1 are needed), DIMENSIONS_TOO_MANY, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE, MATRIX_NOT_POSITIVE_DEFINITE
 *   (estimator `gaussian`, dependent coordinates). O(n^1.5) per pair in the plane.
 */
export const npib = defineSimilarity<PreparedLayer, typeof optionsSchema>({
  id: "npib",
  summary: "normalised pairwise information bottleneck (MKA), on embedded coordinates",
  optionsSchema,
  create(options) {
    const geometric = options.normalization === "geometric-entropy";
    const estimator = geometric ? "rank-histogram" : options.estimator;
    const estimate = (a: PreparedLayer, b: PreparedLayer, ctx: RunContext): Awaitable<number> => {
      switch (estimator) {
        case "gaussian":
          return gaussianMutualInformation(matrixOf(a.points), matrixOf(b.points), ctx);
        case "rank-histogram":
          return histogramInformation(a.histogram!, b.histogram!);
        default: {
          const search: InformationOptions = { ...options, estimator };
          a.prepared ??= preparePoints(a.points, search);
          b.prepared ??= preparePoints(b.points, search);
          return estimateInformation(a.prepared, b.prepared, search);
        }
      }
    };
    const normalized = (estimated: number, a: PreparedLayer, b: PreparedLayer) => {
      const information = Math.max(0, estimated);
      if (geometric) return information / Math.sqrt(a.histogram!.entropy * b.histogram!.entropy);
      return Math.sqrt(-Math.expm1(-2 * information));
    };
    return {
      // It estimates densities, which works in few dimensions only.
      defaultEmbedding: "diffusion-map",
      traits: {
        symmetric: true,
        stochastic: true,
        range: [0, 1],
        invariantTo:
          options.margins === "normal" || estimator === "rank-histogram"
            ? ["translation", "isotropic-scale"]
            : [],
      },
      prepare(layer, ctx) {
        const original = readPoints(layer, Math.max(options.neighborCount + 1, options.binCount));
        if (original.dimensions >= original.count) {
          throw new LayerfoldError(
            "DIMENSIONS_TOO_MANY",
            "densities cannot be estimated in so many dimensions: embed first",
            {
              wanted: `fewer than the ${original.count} samples, best 1 to 5`,
              got: `${original.dimensions}`,
            },
          );
        }
        if (estimator === "rank-histogram") {
          return {
            original,
            points: original,
            histogram: rankHistogram(original, options.binCount, ctx.rng),
          };
        }
        return {
          original,
          points: options.margins === "normal" ? normalScores(original, ctx.rng) : original,
        };
      },
      async compare(a, b, ctx) {
        checkPaired(a.original, b.original);
        // A layer holds all there is to know about itself, which no estimate from finitely many samples would say.
        if (samePoints(a.original, b.original)) return 1;
        return normalized(await estimate(a, b, ctx), a, b);
      },
      async compareAll(layers, ctx) {
        const threads = threadCount();
        if (estimator === "gaussian" || estimator === "rank-histogram" || threads === 1) return undefined;
        const pairs: [number, number][] = [];
        const values = new Float64Array(layers.length ** 2).fill(1);
        for (const [l, a] of layers.entries()) {
          for (const [m, b] of layers.entries()) {
            checkPaired(a.original, b.original);
            if (l < m && !samePoints(a.original, b.original)) pairs.push([l, m]);
          }
        }
        if (pairs.length * layers[0].points.count < worthThreads) return undefined;
        const points = layers.map((layer) => layer.points);
        const found = await comparePairs(points, pairs, { ...options, estimator }, threads, ctx);
        for (const [at, [l, m]] of pairs.entries()) {
          values[l * layers.length + m] = normalized(found[at], layers[l], layers[m]);
          values[m * layers.length + l] = values[l * layers.length + m];
        }
        return tensor(values, [layers.length, layers.length]);
      },
    };
  },
});

const matrixOf = ({ values, count, dimensions }: Points) => tensor(values, [count, dimensions]);

function samePoints(a: Points, b: Points): boolean {
  return a.dimensions === b.dimensions && a.values.every((value, i) => value === b.values[i]);
}
