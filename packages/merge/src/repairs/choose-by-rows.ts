import { type Matrix, type RunContext, tensor, throwIfAborted } from "@layerfold/core";
import { cholesky, choleskySolve, solveTriangular } from "@layerfold/linalg";

type Float64Matrix = Matrix<Float64Array>;

/** All rows of a fit A·W ≈ T. */
export interface FitRows {
  /** [rows, features] */
  readonly features: Matrix<Float32Array>;
  /** [rows, targets] */
  readonly target: Matrix<Float32Array>;
}

/** Share of the features up to which rows are so few that the choice by rows is the cheaper one. */
const fewRows = 1 / 4;

/** The most rows of which so many features are chosen by rows. */
export function mostRows(features: number): number {
  return Math.floor(features * fewRows);
}

/** Features that are taken to float64 at a time. */
const panelWidth = 1024;

/**
 * The features of least saliency taken away in rounds, and the ridge fit of those that stay, where there are far fewer rows than features: the
 * same fit, from the rows' products K = A·Aᵀ in place of the features' Gram. With E = T − A·W₀ the fit is W = W₀ + Aᵀ(K + λI)⁻¹E, and the
 * diagonal of the features' inverse (1 − a_jᵀ(K + λI)⁻¹a_j)/λ (Woodbury). All in float64.
 *
 * Cost per round: 2 · rows · features · (rows + 2 · targets) operations in the engine. Memory: rows · (rows + targets) float64 values.
 *
 * @param prior - [features, targets] W₀
 * @param ridge - λ as a share of the mean diagonal of the Gram: of all features for the choice, of the chosen ones for the fit
 * @param sizes - how many features are left after each round, descending
 * @returns the features that stay, ascending, and their weights, [chosen, targets]
 * @throws MATRIX_NOT_POSITIVE_DEFINITE; INTERRUPTED
 */
export async function chooseByRows(
  { features, target }: FitRows,
  prior: Matrix<Float32Array>,
  ridge: number,
  sizes: readonly number[],
  ctx: RunContext,
): Promise<{ readonly chosen: readonly number[]; readonly weights: Matrix<Float32Array> }> {
  const { engine } = ctx;
  const [rows, width] = features.shape;
  const targets = target.shape[1];
  let alive = Array.from({ length: width }, (_, j) => j);
  const products = tensor(new Float64Array(rows * rows), [rows, rows]) as Float64Matrix;
  const missing = tensor(Float64Array.from(target.data), [rows, targets]) as Float64Matrix;

  /** Some columns of A, and their rows of W₀, in float64. */
  async function* panels(some: readonly number[]) {
    for (let start = 0; start < some.length; start += panelWidth) {
      throwIfAborted(ctx.signal);
      const index = some.slice(start, start + panelWidth);
      const columns = tensor(new Float64Array(rows * index.length), [rows, index.length]) as Float64Matrix;
      for (let r = 0; r < rows; r++) {
        for (let j = 0; j < index.length; j++)
          columns.data[r * index.length + j] = features.data[r * width + index[j]];
      }
      const weights = tensor(new Float64Array(index.length * targets), [
        index.length,
        targets,
      ]) as Float64Matrix;
      for (const [j, feature] of index.entries()) {
        weights.data.set(prior.data.subarray(feature * targets, (feature + 1) * targets), j * targets);
      }
      yield { start, columns, weights };
    }
  }
  /** Takes features into K and E, or with −1 out of them. */
  const take = async (some: readonly number[], sign: 1 | -1) => {
    for await (const { columns, weights } of panels(some)) {
      const { data } = await engine.matmul(columns, columns, { transposeB: true });
      for (let k = 0; k < data.length; k++) products.data[k] += sign * data[k];
      const image = (await engine.matmul(columns, weights)).data;
      for (let k = 0; k < image.length; k++) missing.data[k] -= sign * image[k];
    }
  };
  const meanDiagonal = () => {
    let trace = 0;
    for (let r = 0; r < rows; r++) trace += products.data[r * (rows + 1)];
    return trace / alive.length;
  };
  const solved = async (lambda: number) => {
    const damped = products.data.slice();
    for (let r = 0; r < rows; r++) damped[r * (rows + 1)] += lambda;
    const lower = await cholesky(tensor(damped, [rows, rows]), ctx, { overwrite: true });
    return { lower, dual: await choleskySolve(lower, missing, ctx) };
  };

  await take(alive, 1);
  const lambda = ridge * meanDiagonal();
  for (const size of sizes) {
    const { lower, dual } = await solved(lambda);
    const saliency = new Float64Array(alive.length);
    for await (const { start, columns, weights } of panels(alive)) {
      const [, count] = columns.shape;
      const update = (await engine.matmul(columns, dual, { transposeA: true })).data;
      const solution = (await solveTriangular(lower, columns, ctx)).data;
      const leverage = new Float64Array(count);
      for (let k = 0; k < solution.length; k++) leverage[k % count] += solution[k] ** 2;
      for (let j = 0; j < count; j++) {
        let square = 0;
        for (let k = j * targets; k < (j + 1) * targets; k++) square += (weights.data[k] + update[k]) ** 2;
        saliency[start + j] = (lambda * square) / (1 - leverage[j]);
      }
    }
    const order = Array.from(alive.keys()).sort((a, b) => saliency[b] - saliency[a]);
    const gone = new Set(order.slice(size));
    await take(
      alive.filter((_, i) => gone.has(i)),
      -1,
    );
    alive = alive.filter((_, i) => !gone.has(i));
  }
  const { dual } = await solved(ridge * meanDiagonal());
  const result = new Float32Array(alive.length * targets);
  for await (const { start, columns, weights } of panels(alive)) {
    const update = (await engine.matmul(columns, dual, { transposeA: true })).data;
    for (let k = 0; k < update.length; k++) result[start * targets + k] = weights.data[k] + update[k];
  }
  return { chosen: alive, weights: tensor(result, [alive.length, targets]) };
}
