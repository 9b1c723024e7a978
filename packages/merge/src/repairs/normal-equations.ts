import {
  contiguousData,
  LayerfoldError,
  type Matrix,
  type RunContext,
  submatrix,
  type Tensor,
  tensor,
} from "@layerfold/core";
import {
  addSymmetric,
  addSymmetricGram,
  ridgeLeastSquares,
  ridgeSolution,
  type SymmetricTiles,
  symmetricDiagonal,
  symmetricInverse,
  symmetricPart,
  symmetricPrincipal,
  symmetricProduct,
  symmetricWithout,
  symmetricZeros,
  tiledInverse,
} from "@layerfold/linalg";

/** AᵀA and AᵀT of a least-squares fit A·W ≈ T, gathered over many batches. Both are of one dtype, in which the fit is solved. */
export interface NormalEquations {
  /** [features, features] */
  readonly gram: SymmetricTiles;
  /** [features, targets] */
  readonly cross: Matrix;
}

/** A float64 Gram may take so many bytes, half of the square being kept: that of 16,384 features. */
const doubleBytes = 2 ** 30;

/** The dtype of the equations of so many features where none is asked for: float64 up to 16,384 features. */
export function equationsDtype(features: number): SymmetricTiles["dtype"] {
  return 4 * features ** 2 <= doubleBytes ? "float64" : "float32";
}

/** Equations of no rows yet, all 0: features · (features / 2 + targets) values. */
export function emptyEquations(
  features: number,
  targets: number,
  dtype: SymmetricTiles["dtype"] = equationsDtype(features),
): NormalEquations {
  const values = features * targets;
  const cross = dtype === "float64" ? new Float64Array(values) : new Float32Array(values);
  return { gram: symmetricZeros(features, dtype), cross: tensor(cross, [features, targets]) as Matrix };
}

/** Values of AᵀT that are made at a time: 32 MiB of float32, as the engine holds them twice. */
const productValues = 2 ** 23;

/**
 * Adds one batch, in place. A batch's products are made in its own precision and summed in the equations'.
 * Cost: rows · features · (features + 2 · targets) operations in the engine, and features²/2 additions here, so that few rows at a time
 * of many features are slow; see `rowsOfWorth`.
 * @param features - [rows, features]
 * @param target - [rows, targets] of the same dtype
 */
export async function addRows(
  { gram, cross }: NormalEquations,
  features: Matrix,
  target: Matrix,
  ctx: RunContext,
): Promise<void> {
  await addSymmetricGram(gram, features, ctx);
  const [size, targets] = cross.shape;
  const panel = Math.ceil(productValues / targets);
  for (let start = 0; start < size; start += panel) {
    const columns = submatrix(features, 0, start, features.shape[0], Math.min(panel, size - start));
    const product = await ctx.engine.matmul(columns, target, { transposeA: true });
    for (let i = 0, at = start * targets; i < product.data.length; i++, at++)
      cross.data[at] += product.data[i];
  }
}

/** Rows from which on a Gram's product outweighs adding it; what batches of a wide model are gathered to. */
export function rowsOfWorth(features: number): number {
  return Math.ceil(features / 16);
}

/** Both sets of rows together, in the memory of the first. */
export function sumOf(a: NormalEquations, b: NormalEquations): NormalEquations {
  addSymmetric(a.gram, b.gram);
  for (let i = 0; i < a.cross.data.length; i++) a.cross.data[i] += b.cross.data[i];
  return a;
}

/**
 * The fit with as many features as there are, kept together with the inverse that tells what taking features away costs.
 */
export interface ComponentFit {
  /** [features, features] (AᵀA + λI)⁻¹ */
  readonly inverse: SymmetricTiles;
  /** [features, targets] */
  readonly weights: Matrix;
  /** Where the features stood in the first fit, ascending. */
  readonly features: readonly number[];
}

/**
 * argmin ‖A·W − T‖² + λ‖W − prior‖², λ = ridge · mean diagonal of the Gram; prior [features, targets]. O(features³) in the engine.
 * @param options - `overwrite` lends the memory of the equations to the fit; they are then spoilt
 */
export async function componentFit(
  { gram, cross }: NormalEquations,
  prior: Matrix,
  ridge: number,
  ctx: RunContext,
  { overwrite = false }: { readonly overwrite?: boolean } = {},
): Promise<ComponentFit> {
  const { lower, weights } = await ridgeSolution({ gram, cross, ridge, prior, overwrite }, ctx);
  await tiledInverse(lower, ctx);
  return { inverse: lower, weights, features: Array.from({ length: gram.size }, (_, i) => i) };
}

/**
 * The fit without some of its features, from the fit with them (a block form of the optimal brain surgeon, Hassibi & Stork 1993); see
 * `symmetricWithout`. The fit that was given is spoilt, since the new one lies in its memory.
 *
 * @param gone - positions in `fit.features`, ascending
 */
export async function withoutFeatures(
  { inverse, weights, features }: ComponentFit,
  gone: readonly number[],
  ctx: RunContext,
): Promise<ComponentFit> {
  const away = new Set(gone);
  return {
    ...(await symmetricWithout(inverse, weights, gone, ctx)),
    features: features.filter((_, i) => !away.has(i)),
  };
}

/** [features] what taking each single feature away costs, in the unit of the squared error: ‖w_j‖² / H_jj. */
export function featureSaliency({ inverse, weights, features }: ComponentFit): Float64Array {
  const targets = weights.shape[1];
  const diagonal = symmetricDiagonal(inverse);
  return Float64Array.from(features, (_, j) => {
    let square = 0;
    for (let t = 0; t < targets; t++) square += weights.data[j * targets + t] ** 2;
    return square / diagonal[j];
  });
}

/** What taking a block of features away together costs: tr(W_Sᵀ (H_SS)⁻¹ W_S). */
export async function blockSaliency(
  { inverse, weights }: ComponentFit,
  block: readonly number[],
  ctx: RunContext,
): Promise<number> {
  const rows = pickRows(weights, block);
  const inner = await symmetricInverse(symmetricPart(inverse, block, block), ctx);
  const product = await ctx.engine.matmul(inner, rows);
  return product.data.reduce((sum, value, i) => sum + value * rows.data[i], 0);
}

/** Rows of a matrix, in the order given, in float64. */
export function pickRows(matrix: Matrix, rows: readonly number[]): Matrix<Float64Array> {
  const { shape } = matrix;
  const data = contiguousData(matrix);
  const width = shape[1];
  const out = new Float64Array(rows.length * width);
  rows.forEach((row, i) => {
    out.set(data.subarray(row * width, (row + 1) * width), i * width);
  });
  return tensor(out, [rows.length, width]);
}

/** The equations of some features only. */
export function ofFeatures({ gram, cross }: NormalEquations, features: readonly number[]): NormalEquations {
  const rows = pickRows(cross, features);
  const some = gram.dtype === "float64" ? rows : (tensor(Float32Array.from(rows.data), rows.shape) as Matrix);
  return { gram: symmetricPrincipal(gram, features), cross: some };
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
    const product = await symmetricProduct(unseen.gram, weights, ctx);
    let error = 0;
    for (let i = 0; i < weights.data.length; i++)
      error += weights.data[i] * (product.data[i] - 2 * unseen.cross.data[i]);
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
