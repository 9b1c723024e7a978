import { type Floats, type Matrix, matrixSize, type RunContext, tensor } from "@layerfold/core";
import { type CenteredPoints, centerPoints } from "./centered-points.js";
import { gram } from "./gram.js";

/**
 * A squared distance below this share of the two squared norms has lost its digits to cancellation and is computed again,
 * directly. The product's relative error is a few units in the last place, so what is kept is right to about 10⁻⁴ (float32,
 * whose close pairs are no rarity) or 10⁻⁹ (float64).
 */
const closeShare = { float32: 1e-3, float64: 1e-6 };

/** Direct recomputation costs about as much as a float64 product once this share of the pairs is close. */
const manyClose = 0.02;

/** Tile edge that keeps a block of rows and the mirrored block of columns in cache. */
const tile = 64;

interface Side extends CenteredPoints {
  /** [samples] squared norms of the centred rows. */
  readonly norms: Float64Array;
}

function squaredNorms(centered: Matrix): Float64Array {
  const [rows, columns] = centered.shape;
  const { data } = centered;
  const norms = new Float64Array(rows);
  for (let i = 0, at = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++, at++) sum += data[at] * data[at];
    norms[i] = sum;
  }
  return norms;
}

function direct(a: Floats, i: number, b: Floats, j: number, columns: number): number {
  let sum = 0;
  for (let k = 0, p = i * columns, q = j * columns; k < columns; k++, p++, q++) {
    const difference = a[p] - b[q];
    sum += difference * difference;
  }
  return sum;
}

/**
 * Squared Euclidean distances of all pairs of rows.
 *
 * ‖x‖² + ‖y‖² − 2xᵀy by a Gram matrix through the engine, made safe against cancellation: the points are centred, the norms are the
 * Gram's own diagonal, the diagonal is exactly 0, and pairs that are close beside their norms are computed again as ‖x − y‖² in
 * float64. Where a float32 product leaves more than 2 % of the pairs too close, it is repeated in float64 (reported).
 *
 * @param points - [samples, features], rows are samples; not changed
 * @returns [samples, samples] in the points' dtype, symmetric, never negative
 * @throws POINTS_NOT_FINITE, SAMPLES_TOO_FEW. O(samples² · features) in the engine; memory samples · (samples + features).
 */
export async function squaredDistances(points: Matrix, ctx: RunContext): Promise<Matrix> {
  const { original, centered } = centerPoints(points);
  const [rows, columns] = centered.shape;
  const products = await gram(centered, ctx);
  const attempt = ({ data }: Matrix, mayGiveUp: boolean) => {
    const norms = Float64Array.from({ length: rows }, (_, i) => data[i * rows + i]);
    const share = data instanceof Float64Array ? closeShare.float64 : closeShare.float32;
    let budget = mayGiveUp ? (manyClose * rows * rows) / 2 : Number.POSITIVE_INFINITY;
    for (let i0 = 0; i0 < rows; i0 += tile) {
      for (let j0 = i0; j0 < rows; j0 += tile) {
        for (let i = i0; i < Math.min(i0 + tile, rows); i++) {
          const norm = norms[i];
          for (let j = Math.max(j0, i + 1); j < Math.min(j0 + tile, rows); j++) {
            let squared = norm + norms[j] - 2 * data[i * rows + j];
            if (squared <= share * (norm + norms[j])) {
              if (--budget < 0) return false;
              squared = direct(original, i, original, j, columns);
            }
            data[i * rows + j] = squared;
            data[j * rows + i] = squared;
          }
        }
      }
    }
    for (let i = 0; i < rows; i++) data[i * rows + i] = 0;
    return true;
  };
  if (attempt(products, products.data instanceof Float32Array)) return products;
  const [wideCentered] = repeatInFloat64(centered, centered, ctx);
  const wide = await gram(wideCentered, ctx);
  attempt(wide, false);
  return tensor(new Float32Array(wide.data), [rows, rows]);
}

/**
 * Squared distances from any points to a fixed set, which is centred and measured once.
 *
 * @param points - [samples, features]
 * @returns a function that gives [queries, samples] in the points' dtype for queries [queries, features] of the same dtype, with
 *   the care of {@link squaredDistances} (norms are summed in float64)
 * @throws POINTS_NOT_FINITE, SAMPLES_TOO_FEW, TENSOR_SHAPE
 */
export function squaredDistancesTo(points: Matrix): (queries: Matrix, ctx: RunContext) => Promise<Matrix> {
  const centeredPoints = centerPoints(points);
  const to: Side = { ...centeredPoints, norms: squaredNorms(centeredPoints.centered) };
  return async (queries, ctx) => {
    const centeredQueries = centerPoints(queries, to.mean);
    const from: Side = { ...centeredQueries, norms: squaredNorms(centeredQueries.centered) };
    const products = await ctx.engine.matmul(from.centered, to.centered, { transposeB: true });
    if (distancesFromProducts(products, from, to, products.data instanceof Float32Array)) return products;
    const wide = await ctx.engine.matmul(...repeatInFloat64(from.centered, to.centered, ctx), {
      transposeB: true,
    });
    distancesFromProducts(wide, from, to, false);
    return tensor(new Float32Array(wide.data), wide.shape);
  };
}

/** Turns products into squared distances in place; false when it gave up because too many pairs are close. */
function distancesFromProducts(products: Matrix, from: Side, to: Side, mayGiveUp: boolean): boolean {
  const { data } = products;
  const { rows, columns: samples } = matrixSize(products, "products");
  const features = to.mean.length;
  const share = data instanceof Float64Array ? closeShare.float64 : closeShare.float32;
  let budget = mayGiveUp ? manyClose * rows * samples : Number.POSITIVE_INFINITY;
  for (let i = 0, at = 0; i < rows; i++) {
    const norm = from.norms[i];
    for (let j = 0; j < samples; j++, at++) {
      let squared = norm + to.norms[j] - 2 * data[at];
      if (squared <= share * (norm + to.norms[j])) {
        if (--budget < 0) return false;
        squared = direct(from.original, i, to.original, j, features);
      }
      data[at] = squared;
    }
  }
  return true;
}

function repeatInFloat64(
  a: Matrix,
  b: Matrix,
  ctx: RunContext,
): [Matrix<Float64Array>, Matrix<Float64Array>] {
  ctx.report?.({
    type: "diagnostic",
    severity: "info",
    code: "DISTANCES_FLOAT64",
    message:
      "more than 2 % of the pairs lie too close for float32 products: distances are computed in float64",
  });
  const widen = (m: Matrix) => tensor(new Float64Array(m.data), m.shape);
  const wideA = widen(a);
  return [wideA, a === b ? wideA : widen(b)];
}
