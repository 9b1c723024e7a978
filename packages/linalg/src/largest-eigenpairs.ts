import {
  type Awaitable,
  LayerfoldError,
  type Matrix,
  type Rng,
  type RunContext,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { type Eigenpairs, squareSize, symmetricEigen } from "./symmetric-eigen.js";

/** A symmetric matrix that is known by what it does. */
export interface SymmetricOperator {
  readonly size: number;
  /** @param block - [size, columns]; returns [size, columns] */
  apply(block: Matrix<Float64Array>): Awaitable<Matrix>;
}

export interface LargestEigenpairsOptions {
  /** [size, k] orthonormal eigenvectors that are known already and shall be left out. */
  readonly known?: Matrix<Float64Array>;
  /**
   * A pair has converged when ‖A·u − λ·u‖ is below this share of the spectrum's spread. Default 1e-10; 1e-6 for a float32 matrix.
   */
  readonly tolerance?: number;
  /** Vectors multiplied at a time. Default 8, or count + 2 where that is more. */
  readonly blockSize?: number;
  /** Pairs at the end that are returned as they are, without waiting for them: good enough for a gap. Default 0. */
  readonly guardCount?: number;
  /** Products with a block after which it stops and reports. Default 300. */
  readonly maximumProducts?: number;
}

/** Up to this size the whole decomposition is cheaper and leaves no doubt. */
const denseSize = 160;

/**
 * The algebraically largest eigenpairs of a symmetric matrix.
 *
 * Block Lanczos with full reorthogonalisation and thick restarts (Wu & Simon 2000, SIAM J. Matrix Anal. Appl. 22), in float64 around
 * products in the matrix's own dtype. It starts from a seeded random block, so equal input gives equal output. Up to
 * size 160 the matrix is decomposed whole.
 *
 * @param matrix - [size, size], taken as symmetric, or an operator; not changed
 * @param count - pairs wanted, at most size less the known ones
 * @returns eigenvalues descending with their vectors; signs are arbitrary. `residuals[k]` = ‖A·u_k − λ_k·u_k‖
 * @throws EIGENPAIRS_TOO_MANY, INTERRUPTED. Reports EIGENPAIRS_NOT_CONVERGED. One pass over the matrix for each block product,
 *   typically 10 to 40.
 */
export async function largestEigenpairs(
  matrix: Matrix | SymmetricOperator,
  count: number,
  ctx: RunContext,
  options: LargestEigenpairsOptions = {},
): Promise<Eigenpairs & { readonly residuals: Float64Array }> {
  const operator = "apply" in matrix ? matrix : matrixOperator(matrix, ctx);
  const { size } = operator;
  const known = options.known ? columnsToRows(options.known) : new Float64Array(0);
  const available = size - known.length / size;
  if (count > available) {
    throw new LayerfoldError("EIGENPAIRS_TOO_MANY", "more eigenpairs wanted than the matrix has", {
      wanted: `at most ${available}`,
      got: `${count}`,
    });
  }
  if (size <= denseSize) return decomposeWhole(operator, count, known);
  const isFloat32 = !("apply" in matrix) && matrix.data instanceof Float32Array;
  const {
    tolerance = isFloat32 ? 1e-6 : 1e-10,
    blockSize = Math.max(8, count + 2),
    guardCount = 0,
    maximumProducts = 300,
  } = options;
  return blockLanczos(operator, count, known, { tolerance, blockSize, guardCount, maximumProducts }, ctx);
}

function matrixOperator(matrix: Matrix, ctx: RunContext): SymmetricOperator {
  return {
    size: squareSize(matrix),
    apply: (block) =>
      ctx.engine.matmul<Matrix>(
        matrix,
        matrix.data instanceof Float64Array
          ? block
          : tensor(new Float32Array(block.data), block.shape, block.stride),
      ),
  };
}

async function decomposeWhole(operator: SymmetricOperator, count: number, known: Float64Array) {
  const { size } = operator;
  const identity = new Float64Array(size * size);
  for (let i = 0; i < size; i++) identity[i * size + i] = 1;
  const image = await operator.apply(tensor(identity, [size, size]));
  const whole = new Float64Array(image.data);
  // Known vectors go to the far negative end, out of the way: no eigenvalue exceeds the Frobenius norm.
  const bound = 2 * Math.hypot(...rowNorms(whole, size)) + 1;
  for (let k = 0; k < known.length; k += size) {
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) whole[i * size + j] -= bound * known[k + i] * known[k + j];
    }
  }
  const { values, vectors } = symmetricEigen(tensor(whole, [size, size]));
  const kept = new Float64Array(size * count);
  const residuals = new Float64Array(count);
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < count; k++) kept[i * count + k] = vectors.data[i * size + k];
  }
  for (let k = 0; k < count; k++) {
    let sum = 0;
    for (let i = 0; i < size; i++) {
      let product = -values[k] * kept[i * count + k];
      for (let j = 0; j < size; j++) product += whole[i * size + j] * kept[j * count + k];
      sum += product * product;
    }
    residuals[k] = Math.sqrt(sum);
  }
  return { values: values.slice(0, count), vectors: tensor(kept, [size, count]), residuals };
}

function rowNorms(data: Float64Array, width: number): Float64Array {
  return Float64Array.from({ length: data.length / width }, (_, i) =>
    Math.sqrt(dot(data, i * width, data, i * width, width)),
  );
}

function dot(a: Float64Array, i: number, b: Float64Array, j: number, length: number): number {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += a[i + k] * b[j + k];
  return sum;
}

function columnsToRows(m: Matrix): Float64Array {
  const [size, count] = m.shape;
  const rows = new Float64Array(size * count);
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < count; k++) rows[k * size + i] = m.data[m.offset + i * m.stride[0] + k * m.stride[1]];
  }
  return rows;
}

/** Everything below keeps vectors as rows of row-major arrays, so that a basis grows without moving. */
async function blockLanczos(
  operator: SymmetricOperator,
  count: number,
  known: Float64Array,
  options: Required<Omit<LargestEigenpairsOptions, "known">>,
  ctx: RunContext,
) {
  const { size } = operator;
  const { tolerance, blockSize, guardCount, maximumProducts } = options;
  const rng = ctx.rng.fork("largest-eigenpairs");
  const knownCount = known.length / size;
  const capacity = Math.min(size - knownCount, Math.max(96, count + 5 * blockSize));
  // The known vectors stand in front, so that one product keeps the basis clear of them too.
  const store = new Float64Array((knownCount + capacity) * size);
  store.set(known);
  const basis = store.subarray(known.length);
  /** [capacity, capacity] basis_i · A · basis_j */
  const projected = new Float64Array(capacity * capacity);
  let filled = 0;
  const spanned = () => store.subarray(0, (knownCount + filled) * size);
  const start = Float64Array.from({ length: blockSize * size }, () => rng.normal());
  let next = await orthonormalRows(start, 1, spanned(), size, ctx, rng);
  let everDeficient = false;
  let lastConverged: Float64Array | undefined;
  let look = { at: 3, products: 0, excess: Number.POSITIVE_INFINITY };
  for (let products = 1; ; products++) {
    throwIfAborted(ctx.signal);
    const width = next.rows.length / size;
    basis.set(next.rows, filled * size);
    const image = await operator.apply(tensor(next.rows, [size, width], [1, size]));
    const remainder = columnsToRows(image);
    const before = filled;
    filled += width;
    const coefficients = await removeComponents(remainder, spanned(), size, ctx);
    let scale = Number.MIN_VALUE;
    for (let r = 0; r < width; r++) {
      for (let c = 0; c < filled; c++) {
        const value = coefficients[r * (knownCount + filled) + knownCount + c];
        projected[(before + r) * capacity + c] = value;
        projected[c * capacity + before + r] = value;
        scale = Math.max(scale, Math.abs(value));
      }
    }
    // A decomposition costs as much as a few products: look when residuals may have come down, not every time.
    const full = filled + blockSize > capacity;
    const last = products >= maximumProducts;
    if (filled >= count && (full || last || products >= look.at)) {
      const ritz = symmetricEigen(tensor(projected, [filled, filled], [capacity, 1]));
      const residuals = residualNorms(ritz, remainder, width, count, size);
      const bound = tolerance * (ritz.values[0] - ritz.values[filled - 1]);
      const waitedFor = residuals.subarray(0, count - guardCount);
      const small = waitedFor.every((residual) => residual <= bound);
      // In an invariant subspace all residuals vanish, and further copies of an eigenvalue may still be outside: then the
      // values have to survive a look with new random directions.
      const settled =
        !everDeficient || lastConverged?.every((value, k) => Math.abs(value - ritz.values[k]) <= bound);
      const converged = filled === size - knownCount || (small && settled);
      if (converged || last) {
        if (!converged) reportUnconverged(waitedFor, bound, products, ctx);
        const vectors = await combine(ritz, count, basis.subarray(0, filled * size), size, ctx);
        return { values: ritz.values.slice(0, count), vectors: rowsToColumns(vectors, size), residuals };
      }
      const excess = Math.max(...waitedFor) / bound;
      look = { at: products + productsUntilSmall(look, products, excess), products, excess };
      lastConverged = small ? ritz.values.slice(0, count) : undefined;
      if (full) {
        const survivors = Math.min(count + 2 * blockSize, capacity - blockSize);
        basis.set(await combine(ritz, survivors, basis.subarray(0, filled * size), size, ctx));
        projected.fill(0);
        for (let k = 0; k < survivors; k++) projected[k * capacity + k] = ritz.values[k];
        filled = survivors;
      }
    }
    next = await orthonormalRows(remainder, scale, spanned(), size, ctx, rng);
    everDeficient ||= next.deficient;
  }
}

/** How many more products the residual needs at the pace since the last look: three quarters of that, from 1 to 8; 3 if unknown. */
function productsUntilSmall(
  last: { readonly products: number; readonly excess: number },
  products: number,
  excess: number,
): number {
  const pace = Math.log(last.excess / excess) / (products - last.products);
  if (!Number.isFinite(pace) || pace <= 0 || excess <= 1) return 3;
  return Math.min(8, Math.max(1, Math.floor((0.75 * Math.log(excess)) / pace)));
}

/** ‖A·u_k − λ_k·u_k‖ = the remainder of the last block weighted by the vector's last entries. */
function residualNorms(
  ritz: Eigenpairs,
  remainder: Float64Array,
  width: number,
  count: number,
  size: number,
): Float64Array {
  const filled = ritz.values.length;
  const vector = new Float64Array(size);
  return Float64Array.from({ length: count }, (_, k) => {
    vector.fill(0);
    for (let r = 0; r < width; r++) {
      const weight = ritz.vectors.data[(filled - width + r) * filled + k];
      for (let i = 0; i < size; i++) vector[i] += weight * remainder[r * size + i];
    }
    return Math.sqrt(dot(vector, 0, vector, 0, size));
  });
}

/** Rows 0 … count−1 of the Ritz vectors in the full space: Sᵀ·basis. */
async function combine(
  ritz: Eigenpairs,
  count: number,
  basis: Float64Array,
  size: number,
  ctx: RunContext,
): Promise<Float64Array> {
  const filled = ritz.values.length;
  const leading = tensor(ritz.vectors.data, [count, filled], [1, filled]);
  return (await ctx.engine.matmul<Matrix<Float64Array>>(leading, tensor(basis, [filled, size]))).data;
}

/** Takes the components along orthonormal rows out of `rows`; returns them, [rows, against]. */
async function removeComponents(
  rows: Float64Array,
  against: Float64Array,
  size: number,
  ctx: RunContext,
): Promise<Float64Array> {
  if (against.length === 0) return new Float64Array(0);
  const block: Matrix<Float64Array> = tensor(rows, [rows.length / size, size]);
  const basis: Matrix<Float64Array> = tensor(against, [against.length / size, size]);
  const coefficients = await ctx.engine.matmul(block, basis, { transposeB: true });
  const along = await ctx.engine.matmul(coefficients, basis);
  for (let i = 0; i < rows.length; i++) rows[i] -= along.data[i];
  return coefficients.data;
}

/**
 * Makes the rows orthonormal, to one another and to all of `against`. A row with nothing new in it (below 10⁻¹² of `scale`) gives
 * way to a random one: the subspace was invariant, and only a new direction can find further copies of an eigenvalue.
 */
async function orthonormalRows(
  rows: Float64Array,
  scale: number,
  against: Float64Array,
  size: number,
  ctx: RunContext,
  rng: Rng,
): Promise<{ rows: Float64Array; deficient: boolean }> {
  let deficient = false;
  gramSchmidt(rows, size, 1e-12 * scale, (row) => {
    deficient = true;
    for (let i = 0; i < size; i++) row[i] = rng.normal();
  });
  // Scaling short rows up has scaled their rounding errors up too, step after step; random ones have not been cleared at all.
  for (let pass = 0; pass < (deficient ? 2 : 1); pass++) {
    await removeComponents(rows, against, size, ctx);
    gramSchmidt(rows, size, 0, () => {});
  }
  return { rows, deficient };
}

/** Modified Gram–Schmidt; rows of which at most `shortest` is left are replaced. Orthogonal to all digits when done twice. */
function gramSchmidt(
  rows: Float64Array,
  size: number,
  shortest: number,
  replace: (row: Float64Array) => void,
): void {
  const clear = (start: number) => {
    for (let p = 0; p < start; p += size) {
      const along = dot(rows, p, rows, start, size);
      for (let i = 0; i < size; i++) rows[start + i] -= along * rows[p + i];
    }
    return Math.sqrt(dot(rows, start, rows, start, size));
  };
  for (let start = 0; start < rows.length; start += size) {
    let norm = clear(start);
    if (norm <= shortest) {
      replace(rows.subarray(start, start + size));
      norm = clear(start);
    }
    for (let i = 0; i < size; i++) rows[start + i] /= norm;
  }
}

function rowsToColumns(rows: Float64Array, size: number): Matrix<Float64Array> {
  const count = rows.length / size;
  const columns = new Float64Array(rows.length);
  for (let k = 0; k < count; k++) {
    for (let i = 0; i < size; i++) columns[i * count + k] = rows[k * size + i];
  }
  return tensor(columns, [size, count]);
}

function reportUnconverged(residuals: Float64Array, bound: number, products: number, ctx: RunContext): void {
  ctx.report?.({
    type: "diagnostic",
    severity: "warning",
    code: "EIGENPAIRS_NOT_CONVERGED",
    message:
      `after ${products} block products the largest residual of ${residuals.length} eigenpairs is ` +
      `${Math.max(...residuals).toExponential(1)}, wanted ${bound.toExponential(1)}`,
  });
}
