import { LayerfoldError, type Matrix } from "@layerfold/core";
import { digammaTable } from "./digamma.js";
import { checkNeighborCount } from "./ksg-mutual-information.js";
import { nearestSamples, neighborGrid } from "./neighbor-grid.js";
import { type Points, readPoints } from "./read-points.js";

/**
 * Differential entropy in nats by nearest neighbours (Kozachenko & Leonenko 1987; as in Kraskov et al. 2004, eq. 20):
 * H = ψ(n) − ψ(k) + log V_d + (d/n) Σ_i log ε(i), ε(i) the Euclidean distance to the k-th neighbour, V_d the volume of the unit ball.
 * Negative where the density exceeds 1.
 *
 * @param points - [samples, dimensions]
 * @param options.neighborCount - k; default 3
 * @throws SAMPLES_COINCIDE when a sample has k duplicates (the estimate would be −∞); SAMPLES_TOO_FEW, POINTS_NOT_FINITE. O(n^1.5) in the
 *   plane.
 */
export function entropy(
  points: Matrix,
  { neighborCount = 3 }: { readonly neighborCount?: number } = {},
): number {
  checkNeighborCount(neighborCount);
  const read = readPoints(points, neighborCount + 1);
  return knnEntropy(read, neighborCount, true);
}

/**
 * {@link entropy} of points that are read already; without `constants` log n − log k stands for ψ(n) − ψ(k), and log V_d is left out.
 * @throws SAMPLES_COINCIDE
 */
export function knnEntropy(points: Points, neighborCount: number, constants: boolean): number {
  const { count, dimensions } = points;
  const { distance } = nearestSamples(neighborGrid(points), neighborCount, "euclidean", "distance");
  let logs = 0;
  for (let i = 0; i < count; i++) {
    if (distance[i] === 0) {
      throw new LayerfoldError(
        "SAMPLES_COINCIDE",
        "a sample coincides with its nearest neighbours: the density is infinite",
        {
          wanted: `fewer than ${neighborCount} duplicates of any sample`,
          where: `row ${i}`,
        },
      );
    }
    logs += Math.log(distance[i]);
  }
  const spread = (dimensions * logs) / count;
  if (!constants) return Math.log(count) - Math.log(neighborCount) + spread;
  const digamma = digammaTable(count);
  return digamma[count] - digamma[neighborCount] + logUnitBallVolume(dimensions) + spread;
}

/** log V_d, by V_d = V_{d−2} · 2π/d from V_0 = 1 and V_1 = 2. */
function logUnitBallVolume(dimensions: number): number {
  let log = dimensions % 2 === 0 ? 0 : Math.LN2;
  for (let d = dimensions; d >= 2; d -= 2) log += Math.log((2 * Math.PI) / d);
  return log;
}
