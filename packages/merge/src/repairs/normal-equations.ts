import {
  LayerfoldError,
  type Matrix,
  type RunContext,
  submatrix,
  type Tensor,
  tensor,
  zeros,
} from "@layerfold/core";
import { addGram, ridgeLeastSquares, symmetricInverse } from "@layerfold/linalg";

type Float64Matrix = Matrix<Float64Array>;

/** AᵀA and AᵀT of a least-squares fit A·W ≈ T, gathered over many batches in float64. */
export interface NormalEquations {
  /** [features, features] */
  readonly gram: Float64Matrix;
  /** [features, targets] */
  readonly cross: Float64Matrix;
}

/** Equations of no rows yet, all 0: 8 · features · (features + targets) bytes. */
export function emptyEquations(features: number, targets: number): NormalEquations {
  return { gram: zeros([features, features], "float64"), cross: zeros([features, targets], "float64") };
}

/** Values of AᵀT that are made at a time: 32 MiB of float32, as the engine holds them twice. */
const productValues = 2 ** 23;

/**
 * Adds one batch, in place. A batch's products are made in its own precision and summed in float64.
 * Cost: rows · features · (features + targets) multiply-adds in the engine.
 * @param features - [rows, features]
 * @param target - [rows, targets] of the same dtype
 */
export async function addRows(
  { gram, cross }: NormalEquations,
  features: Matrix,
  target: Matrix,
  ctx: RunContext,
): Promise<void> {
  await addGram(gram, features, ctx);
  const [size, targets] = cross.shape;
  const panel = Math.ceil(productValues / targets);
  for (let start = 0; start < size; start += panel) {
    const columns = submatrix(features, 0, start, features.shape[0], Math.min(panel, size - start));
    const product = await ctx.engine.matmul(columns, target, { transposeA: true });
    for (let i = 0, at = start * targets; i < product.data.length; i++, at++)
      cross.data[at] += product.data[i];
  }
}

/** Both sets of rows together. */
export function sumOf(a: NormalEquations, b: NormalEquations): NormalEquations {
  const add = (left: Float64Matrix, right: Float64Matrix) =>
    tensor(
      left.data.map((value, i) => value + right.data[i]),
      left.shape,
    );
  return { gram: add(a.gram, b.gram), cross: add(a.cross, b.cross) };
}

/** Mean of the Gram's diagonal: what a ridge is measured in. */
function meanDiagonal({ data, shape }: Float64Matrix): number {
  let trace = 0;
  for (let i = 0; i < shape[0]; i++) trace += data[i * shape[0] + i];
  return trace / shape[0];
}

/**
 * The fit with as many features as there are, kept together with the inverse that tells what taking features away costs.
 */
export interface ComponentFit {
  /** [features, features] (AᵀA + λI)⁻¹ */
  readonly inverse: Float64Matrix;
  /** [features, targets] */
  readonly weights: Float64Matrix;
  /** Where the features stood in the first fit, ascending. */
  readonly features: readonly number[];
}

/** argmin ‖A·W − T‖² + λ‖W − prior‖², λ = ridge · mean diagonal of the Gram; prior [features, targets]. O(features³) in the engine. */
export async function componentFit(
  { gram, cross }: NormalEquations,
  prior: Float64Matrix,
  ridge: number,
  ctx: RunContext,
): Promise<ComponentFit> {
  const size = gram.shape[0];
  const lambda = ridge * meanDiagonal(gram);
  const damped = Float64Array.from(gram.data);
  for (let i = 0; i < size; i++) damped[i * size + i] += lambda;
  const right = cross.data.map((value, i) => value + lambda * prior.data[i]);
  const inverse = await symmetricInverse(tensor(damped, [size, size]), ctx);
  const weights = await ctx.engine.matmul(inverse, tensor(right, cross.shape) as Float64Matrix);
  return { inverse, weights, features: Array.from({ length: size }, (_, i) => i) };
}

/**
 * The fit without some of its features, from the fit with them (a block form of the optimal brain surgeon, Hassibi & Stork 1993):
 * with H the inverse, S what goes and R what stays, H' = H_RR − H_RS (H_SS)⁻¹ H_SR and W' = W_R − H_RS (H_SS)⁻¹ W_S.
 *
 * @param gone - positions in `fit.features`, ascending
 */
export async function withoutFeatures(
  { inverse, weights, features }: ComponentFit,
  gone: readonly number[],
  ctx: RunContext,
): Promise<ComponentFit> {
  const away = new Set(gone);
  const stay = features.flatMap((_, i) => (away.has(i) ? [] : [i]));
  const across = pick(inverse, stay, gone);
  const inner = await symmetricInverse(pick(inverse, gone, gone), ctx);
  const gain = await ctx.engine.matmul(across, inner);
  const update = await ctx.engine.matmul(gain, across, { transposeB: true });
  const shift = await ctx.engine.matmul(gain, pickRows(weights, gone));
  const rest = pick(inverse, stay, stay);
  const restWeights = pickRows(weights, stay);
  for (let i = 0; i < rest.data.length; i++) rest.data[i] -= update.data[i];
  for (let i = 0; i < restWeights.data.length; i++) restWeights.data[i] -= shift.data[i];
  return { inverse: rest, weights: restWeights, features: stay.map((i) => features[i]) };
}

/** [features] what taking each single feature away costs, in the unit of the squared error: ‖w_j‖² / H_jj. */
export function featureSaliency({ inverse, weights, features }: ComponentFit): Float64Array {
  const targets = weights.shape[1];
  return Float64Array.from(features, (_, j) => {
    let square = 0;
    for (let t = 0; t < targets; t++) square += weights.data[j * targets + t] ** 2;
    return square / inverse.data[j * features.length + j];
  });
}

/** What taking a block of features away together costs: tr(W_Sᵀ (H_SS)⁻¹ W_S). */
export async function blockSaliency(
  { inverse, weights }: ComponentFit,
  block: readonly number[],
  ctx: RunContext,
): Promise<number> {
  const rows = pickRows(weights, block);
  const inner = await symmetricInverse(pick(inverse, block, block), ctx);
  const product = await ctx.engine.matmul(inner, rows);
  return product.data.reduce((sum, value, i) => sum + value * rows.data[i], 0);
}

/** Rows and columns of a matrix, in the order given. */
export function pick(
  { data, shape }: Float64Matrix,
  rows: readonly number[],
  columns: readonly number[],
): Float64Matrix {
  const out = new Float64Array(rows.length * columns.length);
  let to = 0;
  for (const row of rows) for (const column of columns) out[to++] = data[row * shape[1] + column];
  return tensor(out, [rows.length, columns.length]);
}

export function pickRows({ data, shape }: Float64Matrix, rows: readonly number[]): Float64Matrix {
  const width = shape[1];
  const out = new Float64Array(rows.length * width);
  rows.forEach((row, i) => {
    out.set(data.subarray(row * width, (row + 1) * width), i * width);
  });
  return tensor(out, [rows.length, width]);
}

/** The equations of some features only. */
export function ofFeatures({ gram, cross }: NormalEquations, features: readonly number[]): NormalEquations {
  return { gram: pick(gram, features, features), cross: pickRows(cross, features) };
}

/**
 * The ridge whose fit on `seen` leaves the smallest squared error on `unseen` rows; the error is a quadratic form of the equations:
 * tr(Wᵀ G W) − 2 tr(Wᵀ C) and a constant.
 */
export async function bestRidge(
  seen: NormalEquations,
  unseen: NormalEquations,
  prior: Matrix,
  ridges: readonly number[],
  ctx: RunContext,
): Promise<number> {
  let best = { ridge: ridges[0], error: Number.POSITIVE_INFINITY };
  for (const ridge of ridges) {
    const weights = await ridgeLeastSquares({ ...seen, ridge, prior }, ctx);
    const product = await ctx.engine.matmul(unseen.gram, weights);
    const error = weights.data.reduce(
      (sum, w, i) => sum + w * (product.data[i] - 2 * unseen.cross.data[i]),
      0,
    );
    if (error < best.error) best = { ridge, error };
  }
  return best.ridge;
}

/** Rows of real tokens of several tensors [batch, sequence, width] side by side, each row times its scale, 1 where none is given. */
export function gatherRows(
  parts: readonly Tensor<Float32Array>[],
  lengths: Int32Array,
  scale: Float64Array = new Float64Array(lengths.reduce((sum, length) => sum + length, 0)).fill(1),
): Matrix<Float32Array> {
  const width = parts.reduce((sum, { shape }) => sum + shape[2], 0);
  const rows = scale.length;
  const out = new Float32Array(rows * width);
  let column = 0;
  for (const { data, offset, shape } of parts) {
    const [, sequence, columns] = shape;
    let row = 0;
    for (const [b, length] of lengths.entries()) {
      for (let s = 0; s < length; s++, row++) {
        const factor = scale[row];
        const to = row * width + column;
        const shift = offset + (b * sequence + s) * columns - to;
        for (let i = to; i < to + columns; i++) out[i] = factor * data[i + shift];
      }
    }
    if (row !== rows) {
      throw new LayerfoldError("TENSOR_SHAPE", "scales and real tokens differ in number", {
        wanted: `${row}`,
        got: `${rows}`,
      });
    }
    column += columns;
  }
  return tensor(out, [rows, width]);
}
