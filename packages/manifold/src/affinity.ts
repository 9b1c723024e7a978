import { type Awaitable, type Matrix, type RunContext, tensor } from "@layerfold/core";

/** A symmetric matrix of affinities K, dense or sparse. */
export interface Affinity {
  readonly size: number;
  /** K·v, summed in float64. */
  times(vector: Float64Array): Float64Array;
  /** K·block for [size, columns], in the affinity's own dtype. */
  multiply(block: Matrix<Float64Array>): Awaitable<Matrix>;
  /** Number of connected components of the graph of positive affinities. */
  componentCount(): number;
}

/**
 * @param matrix - [size, size] symmetric, row-major
 */
export function denseAffinity(matrix: Matrix, ctx: RunContext): Affinity {
  const { data } = matrix;
  const size = matrix.shape[0];
  return {
    size,
    times(vector) {
      const out = new Float64Array(size);
      for (let i = 0, at = 0; i < size; i++) {
        let sum = 0;
        for (let j = 0; j < size; j++, at++) sum += data[at] * vector[j];
        out[i] = sum;
      }
      return out;
    },
    multiply: (block) =>
      ctx.engine.matmul<Matrix>(
        matrix,
        data instanceof Float64Array
          ? block
          : tensor(new Float32Array(block.data), block.shape, block.stride),
      ),
    componentCount: () =>
      countComponents(size, (i, visit) => {
        for (let j = 0; j < size; j++) if (data[i * size + j] > 0) visit(j);
      }),
  };
}

/** Compressed rows: row i holds `values[k]` in column `columns[k]` for `starts[i]` ≤ k < `starts[i + 1]`. */
export interface SparseRows {
  readonly starts: Int32Array;
  readonly columns: Int32Array;
  readonly values: Float64Array;
}

/** @param rows - a symmetric matrix */
export function sparseAffinity({ starts, columns, values }: SparseRows): Affinity {
  const size = starts.length - 1;
  return {
    size,
    times(vector) {
      const out = new Float64Array(size);
      for (let i = 0; i < size; i++) {
        for (let k = starts[i]; k < starts[i + 1]; k++) out[i] += values[k] * vector[columns[k]];
      }
      return out;
    },
    multiply(block) {
      const width = block.shape[1];
      const { data, stride } = block;
      const out = new Float64Array(size * width);
      for (let i = 0; i < size; i++) {
        for (let k = starts[i]; k < starts[i + 1]; k++) {
          const value = values[k];
          const from = columns[k] * stride[0];
          for (let c = 0; c < width; c++) out[i * width + c] += value * data[from + c * stride[1]];
        }
      }
      return tensor(out, [size, width]);
    },
    componentCount: () =>
      countComponents(size, (i, visit) => {
        for (let k = starts[i]; k < starts[i + 1]; k++) if (values[k] > 0) visit(columns[k]);
      }),
  };
}

/** Connected components, by flooding; stops as soon as one point has reached all others. */
function countComponents(size: number, neighborsOf: (i: number, visit: (j: number) => void) => void): number {
  const seen = new Uint8Array(size);
  const pending = new Int32Array(size);
  let components = 0;
  let reached = 0;
  for (let start = 0; reached < size; start++) {
    if (seen[start]) continue;
    components++;
    let waiting = 0;
    const visit = (j: number) => {
      if (seen[j]) return;
      seen[j] = 1;
      reached++;
      pending[waiting++] = j;
    };
    visit(start);
    while (waiting > 0 && reached < size) neighborsOf(pending[--waiting], visit);
  }
  return components;
}
