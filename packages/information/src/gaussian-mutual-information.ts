import { contiguousData, type Matrix, matrixSize, type RunContext, tensor } from "@layerfold/core";
import { cholesky } from "@layerfold/linalg";
import { checkPaired, type Points, readPoints } from "./read-points.js";

/**
 * Mutual information in nats of two vectors taken as jointly Gaussian: ½ log(|Σ_x| |Σ_y| / |Σ_xy|), Σ the sample covariances (Cover &
 * Thomas, Elements of Information Theory, ch. 8). Exact for Gaussians as n grows; for other data a lower bound in spirit only: it sees
 * linear dependence alone.
 *
 * @param x - [samples, dimensions]
 * @param y - [samples, dimensions of its own]
 * @throws MATRIX_NOT_POSITIVE_DEFINITE when coordinates are constant or depend linearly on one another; SAMPLES_TOO_FEW,
 *   SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE. O(n d² + d³) in the engine.
 */
export async function gaussianMutualInformation(x: Matrix, y: Matrix, ctx: RunContext): Promise<number> {
  const needed = x.shape[1] + y.shape[1] + 1;
  const xPoints = readPoints(x, needed);
  const yPoints = readPoints(y, needed);
  checkPaired(xPoints, yPoints);
  const joint = await scatter(standardized(xPoints, yPoints), ctx);
  const split = xPoints.dimensions;
  const size = split + yPoints.dimensions;
  const block = (from: number, to: number) =>
    tensor(joint.data, [to - from, to - from], [size, 1], from * size + from);
  const [both, first, second] = await Promise.all(
    [joint, block(0, split), block(split, size)].map((matrix) => logDeterminant(matrix, ctx)),
  );
  return (first + second - both) / 2;
}

/** [samples, dx + dy] side by side, each coordinate with mean 0 and sum of squares 1 (which leaves the information unchanged). */
function standardized(x: Points, y: Points): Matrix<Float64Array> {
  const width = x.dimensions + y.dimensions;
  const out = new Float64Array(x.count * width);
  for (const [{ values, dimensions, count }, start] of [[x, 0] as const, [y, x.dimensions] as const]) {
    for (let c = 0; c < dimensions; c++) {
      let mean = 0;
      for (let i = 0; i < count; i++) mean += values[i * dimensions + c];
      mean /= count;
      let squares = 0;
      for (let i = 0; i < count; i++) squares += (values[i * dimensions + c] - mean) ** 2;
      const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0;
      for (let i = 0; i < count; i++)
        out[i * width + start + c] = (values[i * dimensions + c] - mean) * scale;
    }
  }
  return tensor(out, [x.count, width]);
}

const scatter = (points: Matrix<Float64Array>, ctx: RunContext) =>
  ctx.engine.matmul(points, points, { transposeA: true });

async function logDeterminant(matrix: Matrix<Float64Array>, ctx: RunContext): Promise<number> {
  const lower = await cholesky(matrix, ctx);
  const { rows } = matrixSize(lower, "factor");
  const data = contiguousData(lower);
  let log = 0;
  for (let i = 0; i < rows; i++) log += 2 * Math.log(data[i * rows + i]);
  return log;
}
