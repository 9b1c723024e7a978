import { LayerfoldError, type Matrix, matrixSize, tensor } from "@layerfold/core";

/** Eigenpairs of a symmetric matrix, largest eigenvalue first. */
export interface Eigenpairs {
  /** [count] descending. */
  readonly values: Float64Array;
  /** [size, count] orthonormal columns; column k belongs to value k. Signs are arbitrary. */
  readonly vectors: Matrix<Float64Array>;
}

/**
 * All eigenpairs of a small symmetric matrix: Householder tridiagonalisation, then implicit QL (Golub & Van Loan §8.3; EISPACK's
 * tred2 and tql2 with vectors as rows, so that every inner loop is contiguous). For sizes up to some hundreds: about 7·n³ operations
 * on one thread. For a few pairs of a large matrix use `largestEigenpairs`.
 *
 * @param matrix - [n, n], taken as symmetric (the upper triangle is read); not changed
 * @throws TENSOR_SHAPE when not square; EIGENPAIRS_NOT_CONVERGED when an entry is not finite
 */
export function symmetricEigen(matrix: Matrix): Eigenpairs {
  const size = squareSize(matrix);
  const { data, stride, offset } = matrix;
  const work = new Float64Array(size * size);
  let largest = 0;
  for (let i = 0; i < size; i++) {
    for (let j = i; j < size; j++) {
      const value = data[offset + i * stride[0] + j * stride[1]];
      work[i * size + j] = work[j * size + i] = value;
      largest = Math.max(largest, Math.abs(value));
    }
  }
  // Entries of at most 1: sums of squares below can then neither overflow nor vanish.
  const scale = largest > 0 ? largest : 1;
  for (let i = 0; i < work.length; i++) work[i] /= scale;
  const { diagonal, offDiagonal, rows } = tridiagonalize(work, size);
  implicitQl(diagonal, offDiagonal, rows, size);
  const order = Int32Array.from({ length: size }, (_, k) => k).sort((a, b) => diagonal[b] - diagonal[a]);
  const values = Float64Array.from(order, (k) => diagonal[k] * scale);
  const vectors = new Float64Array(size * size);
  order.forEach((from, k) => {
    for (let i = 0; i < size; i++) vectors[i * size + k] = rows[from * size + i];
  });
  return { values, vectors: tensor(vectors, [size, size]) };
}

/**
 * A = Q·T·Qᵀ by Householder reflections; `a` is used up.
 * `offDiagonal[k]` couples k and k + 1; `rows` is Qᵀ.
 */
function tridiagonalize(a: Float64Array, n: number) {
  const diagonal = new Float64Array(n);
  const offDiagonal = new Float64Array(n);
  const w = new Float64Array(n);
  const factors = new Float64Array(n);
  for (let k = 0; k < n - 1; k++) {
    // The reflection takes row k's entries beyond the diagonal to (alpha, 0, …, 0); its vector v replaces them.
    const row = k * n;
    let norm = 0;
    for (let j = k + 1; j < n; j++) norm += a[row + j] * a[row + j];
    norm = Math.sqrt(norm);
    diagonal[k] = a[row + k];
    if (norm === 0) continue;
    const head = a[row + k + 1];
    const alpha = head > 0 ? -norm : norm;
    offDiagonal[k] = alpha;
    a[row + k + 1] = head - alpha;
    const beta = 1 / (alpha * (alpha - head));
    factors[k] = beta;
    // w = β·A·v − (β²/2)(vᵀAv)·v, then A ← A − v·wᵀ − w·vᵀ.
    let along = 0;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += a[i * n + j] * a[row + j];
      w[i] = beta * sum;
      along += w[i] * a[row + i];
    }
    const shift = (beta * along) / 2;
    for (let i = k + 1; i < n; i++) w[i] -= shift * a[row + i];
    for (let i = k + 1; i < n; i++) {
      const v = a[row + i];
      const u = w[i];
      for (let j = k + 1; j < n; j++) a[i * n + j] -= v * w[j] + u * a[row + j];
    }
  }
  if (n > 0) diagonal[n - 1] = a[n * n - 1];
  // Qᵀ = H_{n−2} ⋯ H_0, built from the right: each reflection acts on the columns beyond k.
  const rows = new Float64Array(n * n);
  for (let i = 0; i < n; i++) rows[i * n + i] = 1;
  for (let k = n - 2; k >= 0; k--) {
    if (factors[k] === 0) continue;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += rows[i * n + j] * a[k * n + j];
      sum *= factors[k];
      for (let j = k + 1; j < n; j++) rows[i * n + j] -= sum * a[k * n + j];
    }
  }
  return { diagonal, offDiagonal, rows };
}

/** Diagonalises T in place; the rotations act on pairs of rows. */
function implicitQl(diagonal: Float64Array, offDiagonal: Float64Array, rows: Float64Array, n: number): void {
  for (let l = 0; l < n; l++) {
    for (let iteration = 0; ; iteration++) {
      let m = l;
      for (; m < n - 1; m++) {
        const scale = Math.abs(diagonal[m]) + Math.abs(diagonal[m + 1]);
        if (Math.abs(offDiagonal[m]) <= Number.EPSILON * scale) break;
      }
      if (m === l) break;
      if (iteration === 60) {
        throw new LayerfoldError("EIGENPAIRS_NOT_CONVERGED", "the QL iteration did not converge", {
          wanted: "a matrix of finite numbers",
        });
      }
      let g = (diagonal[l + 1] - diagonal[l]) / (2 * offDiagonal[l]);
      let r = Math.sqrt(g * g + 1);
      g = diagonal[m] - diagonal[l] + offDiagonal[l] / (g + (g < 0 ? -r : r));
      let [s, c, p] = [1, 1, 0];
      let i = m - 1;
      for (; i >= l; i--) {
        const f = s * offDiagonal[i];
        const b = c * offDiagonal[i];
        r = Math.sqrt(f * f + g * g);
        offDiagonal[i + 1] = r;
        if (r === 0) {
          diagonal[i + 1] -= p;
          offDiagonal[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = diagonal[i + 1] - p;
        r = (diagonal[i] - g) * s + 2 * c * b;
        p = s * r;
        diagonal[i + 1] = g + p;
        g = c * r - b;
        const lower = i * n;
        const upper = lower + n;
        for (let k = 0; k < n; k++) {
          const x = rows[upper + k];
          const y = rows[lower + k];
          rows[upper + k] = s * y + c * x;
          rows[lower + k] = c * y - s * x;
        }
      }
      if (r === 0 && i >= l) continue;
      diagonal[l] -= p;
      offDiagonal[l] = g;
      offDiagonal[m] = 0;
    }
  }
}

/** @throws TENSOR_SHAPE when not square */
export function squareSize(matrix: Matrix): number {
  const { rows, columns } = matrixSize(matrix, "the matrix");
  if (rows !== columns) {
    throw new LayerfoldError("TENSOR_SHAPE", "the matrix must be square", {
      wanted: `[${rows}, ${rows}]`,
      got: `[${rows}, ${columns}]`,
    });
  }
  return rows;
}
