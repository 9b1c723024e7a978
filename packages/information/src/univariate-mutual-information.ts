import { type Matrix, tensor } from "@layerfold/core";
import { checkNeighborCount, ksg } from "./ksg-mutual-information.js";
import { neighborGrid } from "./neighbor-grid.js";
import { checkPaired, type Points, readPoints } from "./read-points.js";

/**
 * Mutual information in nats of every coordinate of x with every coordinate of y, as scikit-learn's `mutual_info_regression` gives it for
 * continuous variables (Kraskov et al. 2004, eq. 8; Ross 2014, PLoS ONE 9, e87357): each coordinate divided by its standard deviation,
 * `ksg1`, and an estimate below 0 returned as 0, which is the least that mutual information can be.
 *
 * scikit-learn adds noise of 1e-10 from a generator; here nothing is added, so values differ from its own in the last digits, and more
 * where samples coincide.
 *
 * @returns [dimensions of x, dimensions of y]
 * @throws SAMPLES_TOO_FEW, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE. dx · dy times O(n^1.5).
 */
export function univariateMutualInformation(
  x: Matrix,
  y: Matrix,
  { neighborCount = 5 }: { readonly neighborCount?: number } = {},
): Matrix<Float64Array> {
  checkNeighborCount(neighborCount);
  const xPoints = readPoints(x, neighborCount + 1);
  const yPoints = readPoints(y, neighborCount + 1);
  checkPaired(xPoints, yPoints);
  const xGrids = scaledCoordinates(xPoints).map(neighborGrid);
  const yGrids = scaledCoordinates(yPoints).map(neighborGrid);
  const values = Float64Array.from(
    xGrids.flatMap((a) => yGrids.map((b) => Math.max(0, ksg(a, b, { neighborCount })))),
  );
  return tensor(values, [xGrids.length, yGrids.length]);
}

/** Each coordinate alone, divided by its standard deviation where it has one. */
export function scaledCoordinates({ values, count, dimensions }: Points): Points[] {
  return Array.from({ length: dimensions }, (_, c) => {
    const coordinate = Float64Array.from({ length: count }, (_, i) => values[i * dimensions + c]);
    const mean = coordinate.reduce((sum, value) => sum + value, 0) / count;
    const deviation = Math.sqrt(coordinate.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count);
    return {
      values: deviation > 0 ? coordinate.map((v) => v / deviation) : coordinate,
      count,
      dimensions: 1,
    };
  });
}
