import { defineSimilarity, type Rng, z } from "@layerfold/core";
import { ascendingOrder } from "@layerfold/linalg";
import { knnEntropy } from "./kozachenko-leonenko-entropy.js";
import { ksg } from "./ksg-mutual-information.js";
import { type NeighborGrid, neighborGrid } from "./neighbor-grid.js";
import { checkPaired, type Points, readPoints } from "./read-points.js";
import { scaledCoordinates } from "./univariate-mutual-information.js";

const optionsSchema = z.strictObject({
  neighborCount: z.number().int().min(1).default(5).describe("neighbours of the mutual information"),
  entropyNeighborCount: z.number().int().min(1).default(50).describe("neighbours of the entropy"),
  rankNormalize: z
    .boolean()
    .default(true)
    .describe("coordinates replaced by rank/n, equal values in order of sample"),
  entropyConstants: z
    .boolean()
    .default(false)
    .describe("true: Kozachenko–Leonenko entropy; false: without digamma and ball volume, as released"),
  univariate: z
    .boolean()
    .default(true)
    .describe("true: mean over pairs of coordinates, as released; false: of the vectors"),
});

interface PreparedLayer {
  readonly points: Points;
  readonly entropy: number;
  /** Every coordinate, or the vectors, with tie-breaking noise of its own as first and as second argument. */
  readonly asFirst: readonly NeighborGrid[];
  readonly asSecond: readonly NeighborGrid[];
}

/**
 * The similarity that MKA's published script computes, for comparison only: mean mutual information of single coordinates over √(H(X) H(Y)), with
 * an entropy that lacks digamma and ball volume: H = −⟨log(k / (n ε(i)^d))⟩. Entropies are negative here and the mutual information of
 * coordinates is not bounded by them, so a layer's similarity with itself is far from 1: above 2 for 200 samples in the plane, and it grows
 * with their number. Each quirk has an option that mends it.
 *
 * As in scikit-learn, whose estimator the script calls, coordinates are scaled to unit deviation and ties are broken by noise of 1e-10, but
 * from `ctx.rng`.
 *
 * @throws SAMPLES_TOO_FEW, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE, SAMPLES_COINCIDE. NaN (refused by the driver) where the entropies differ in
 *   sign.
 */
export const mkaReleasedCode = defineSimilarity<PreparedLayer, typeof optionsSchema>({
  id: "mka-released-code",
  summary: "what MKA's published script computes (for comparison)",
  optionsSchema,
  create: ({ neighborCount, entropyNeighborCount, rankNormalize, entropyConstants, univariate }) => ({
    traits: {
      symmetric: true,
      stochastic: true,
      range: [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
      invariantTo: [],
    },
    prepare(layer, { rng }) {
      const read = readPoints(layer, Math.max(neighborCount, entropyNeighborCount) + 1);
      const points = rankNormalize ? ordinalRanks(read) : read;
      const entropy = knnEntropy(points, entropyNeighborCount, entropyConstants);
      const parts = () => {
        const noisy = scaledCoordinates(points).map((coordinate) => withNoise(coordinate, rng));
        return (univariate ? noisy : [joined(noisy)]).map(neighborGrid);
      };
      return { points, entropy, asFirst: parts(), asSecond: parts() };
    },
    compare(a, b) {
      checkPaired(a.points, b.points);
      let sum = 0;
      for (const x of a.asFirst) for (const y of b.asSecond) sum += Math.max(0, ksg(x, y, { neighborCount }));
      const information = sum / (a.asFirst.length * b.asSecond.length);
      return information / Math.sqrt(a.entropy * b.entropy);
    },
  }),
});

/** rank/n of every coordinate; equal values in order of sample, as `argsort(argsort(x))` has them. */
function ordinalRanks({ values, count, dimensions }: Points): Points {
  const out = new Float64Array(values.length);
  for (let c = 0; c < dimensions; c++) {
    const order = ascendingOrder(Float64Array.from({ length: count }, (_, i) => values[i * dimensions + c]));
    order.forEach((i, rank) => {
      out[i * dimensions + c] = rank / count;
    });
  }
  return { values: out, count, dimensions };
}

function withNoise(coordinate: Points, rng: Rng): Points {
  const size = coordinate.values.reduce((sum, v) => sum + Math.abs(v), 0) / coordinate.count;
  const scale = 1e-10 * Math.max(1, size);
  return { ...coordinate, values: coordinate.values.map((v) => v + scale * rng.normal()) };
}

/** Single coordinates side by side again. */
function joined(coordinates: readonly Points[]): Points {
  const { count } = coordinates[0];
  const dimensions = coordinates.length;
  const values = Float64Array.from(
    { length: count * dimensions },
    (_, at) => coordinates[at % dimensions].values[Math.floor(at / dimensions)],
  );
  return { values, count, dimensions };
}
