import { LayerfoldError, type Matrix } from "@layerfold/core";
import { digammaTable } from "./digamma.js";
import { type NearestSamples, type NeighborGrid, nearestSamples, neighborGrid } from "./neighbor-grid.js";
import { nonUniformityCorrection } from "./non-uniformity-correction.js";
import { checkPaired, type Points, readPoints } from "./read-points.js";

export interface KsgOptions {
  /** `ksg1` and `ksg2` are equations 8 and 9 of the paper. Default `ksg1`. */
  readonly estimator?: "ksg1" | "ksg2";
  /** k: fewer = less bias, more variance. Default 5. */
  readonly neighborCount?: number;
  /**
   * Correct for density that varies within a neighbourhood (Gao, Ver Steeg & Galstyan 2015): a neighbourhood counts as non-uniform where
   * its principal box has less than this share of the square's volume. 0 … 1; default 0: no correction.
   */
  readonly nonUniformityThreshold?: number;
}

/**
 * Mutual information of two vectors, in nats, by nearest neighbours (Kraskov, Stögbauer & Grassberger 2004, Phys. Rev. E 69, 066138).
 *
 * With the maximum norm, ε(i) the distance of sample i to its k-th neighbour in the joint space, and n_x(i) the number of other samples
 * strictly within ε(i) in x alone: `ksg1` (eq. 8) = ψ(k) + ψ(n) − ⟨ψ(n_x + 1) + ψ(n_y + 1)⟩. `ksg2` (eq. 9) takes the sides ε_x(i), ε_y(i)
 * of the box around the k neighbours, counts samples on its edge too, and = ψ(k) − 1/k + ψ(n) − ⟨ψ(n_x) + ψ(n_y)⟩.
 *
 * The estimate is not clamped: it is unbiased at independence, so it falls below 0 half the time there. Scales matter in finite samples:
 * bring x and y to like scales, or to ranks as `npib` does. Where more than k samples coincide (discrete data) the method does not apply.
 *
 * @param x - [samples, dimensions]
 * @param y - [samples, dimensions of its own], row i belongs to row i of x
 * @throws SAMPLES_TOO_FEW (k + 1 are needed), SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE. O(n^1.5) in the plane.
 */
export function mutualInformation(x: Matrix, y: Matrix, options: KsgOptions = {}): number {
  const { neighborCount = 5 } = options;
  checkNeighborCount(neighborCount);
  const xPoints = readPoints(x, neighborCount + 1);
  const yPoints = readPoints(y, neighborCount + 1);
  checkPaired(xPoints, yPoints);
  return ksg(neighborGrid(xPoints), neighborGrid(yPoints), options);
}

/** @throws NEIGHBOR_COUNT_INVALID */
export function checkNeighborCount(neighborCount: number): void {
  if (!Number.isInteger(neighborCount) || neighborCount < 1) {
    throw new LayerfoldError(
      "NEIGHBOR_COUNT_INVALID",
      "the number of neighbours must be a positive whole number",
      {
        wanted: "1 or more",
        got: `${neighborCount}`,
      },
    );
  }
}

/** {@link mutualInformation} of points that are prepared already; samples are paired and more than k. */
export function ksg(x: NeighborGrid, y: NeighborGrid, options: KsgOptions = {}): number {
  const { estimator = "ksg1", neighborCount = 5, nonUniformityThreshold = 0 } = options;
  const { count } = x.points;
  const digamma = digammaTable(count);
  const wanted = estimator === "ksg1" && nonUniformityThreshold === 0 ? "distance" : "neighbors";
  const nearest = nearestSamples(x, neighborCount, "maximum", wanted, y.points);
  let sum = 0;
  if (estimator === "ksg1") {
    for (let i = 0; i < count; i++) {
      const radius = nearest.distance[i];
      // The counts hold sample i itself, which is the + 1; at radius 0 they hold nothing.
      sum += digamma[Math.max(1, x.countWithin(i, radius))] + digamma[Math.max(1, y.countWithin(i, radius))];
    }
  } else {
    const xSide = boxSides(x.points, nearest);
    const ySide = boxSides(y.points, nearest);
    for (let i = 0; i < count; i++) {
      const xCount = x.countWithin(i, nextAbove(xSide[i])) - 1;
      const yCount = y.countWithin(i, nextAbove(ySide[i])) - 1;
      sum += digamma[xCount] + digamma[yCount];
    }
  }
  const correction = estimator === "ksg2" ? -1 / neighborCount : 0;
  const plain = digamma[neighborCount] + correction + digamma[count] - sum / count;
  if (nonUniformityThreshold === 0) return plain;
  return plain + nonUniformityCorrection(x.points, y.points, nearest, nonUniformityThreshold);
}

/** [count] the largest maximum-norm distance of each sample to its neighbours in these coordinates alone. */
function boxSides({ values, count, dimensions }: Points, { neighbors }: NearestSamples): Float64Array {
  const neighborCount = neighbors.length / count;
  const sides = new Float64Array(count);
  for (let i = 0, at = 0; i < count; i++) {
    let side = 0;
    for (let k = 0; k < neighborCount; k++, at++) {
      for (let c = 0; c < dimensions; c++) {
        const gap = Math.abs(values[i * dimensions + c] - values[neighbors[at] * dimensions + c]);
        if (gap > side) side = gap;
      }
    }
    sides[i] = side;
  }
  return sides;
}

const floats = new Float64Array(1);
const bits = new BigInt64Array(floats.buffer);

/** The next double above a value ≥ 0: "< nextAbove(r)" is "≤ r". */
function nextAbove(value: number): number {
  floats[0] = value;
  bits[0]++;
  return floats[0];
}
