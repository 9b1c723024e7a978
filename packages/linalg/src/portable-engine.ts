import {
  type Floats,
  LayerfoldError,
  type MatmulEngine,
  type Matrix,
  matrixSize,
  tensor,
} from "@layerfold/core";

/** Inner dimension handled at a time: a packed row of it is 2 KiB, so six of them stay in the first-level cache. */
const depth = 256;

/** The logical matrix behind a possibly transposed operand: element (row, column) is `data[offset + row·rs + column·cs]`. */
interface Operand {
  readonly data: Floats;
  readonly offset: number;
  readonly rows: number;
  readonly columns: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

function operand(m: Matrix, transpose: boolean | undefined, what: string): Operand {
  const { rows, columns } = matrixSize(m, what);
  const { data, offset, stride } = m;
  return transpose
    ? { data, offset, rows: columns, columns: rows, rowStride: stride[1], columnStride: stride[0] }
    : { data, offset, rows, columns, rowStride: stride[0], columnStride: stride[1] };
}

/** Copies `count` values that lie `step` apart. */
function pack(
  to: Float64Array,
  toStart: number,
  from: Floats,
  start: number,
  step: number,
  count: number,
): void {
  for (let k = 0, at = start; k < count; k++, at += step) to[toStart + k] = from[at];
}

/**
 * Matrix products in plain TypeScript: no native code, the same result everywhere, one thread. Operands are packed to float64
 * panels along the inner dimension and multiplied in 2 × 4 tiles of dot products, so sums are accumulated in float64 for both
 * dtypes. About 1 to 2 · 10⁹ multiply-adds a second; `@layerfold/onnx` has the engine for real work.
 *
 * @example
 * ```ts
 * const a = tensor(new Float64Array([1, 2, 3, 4]), [2, 2]);
 * const gram = await portableEngine().matmul(a, a, { transposeA: true });
 * assert(gram.data[1] === 14); // 1·2 + 3·4
 * ```
 */
export function portableEngine(): MatmulEngine {
  return {
    id: "portable",
    async matmul<M extends Matrix>(
      first: M,
      second: M,
      options: { transposeA?: boolean; transposeB?: boolean } = {},
    ) {
      if (first.data instanceof Float64Array !== second.data instanceof Float64Array) {
        throw new LayerfoldError("ENGINE_DTYPE", "both matrices must have one dtype", {
          wanted: first.data instanceof Float64Array ? "float64" : "float32",
          got: second.data instanceof Float64Array ? "float64" : "float32",
        });
      }
      const a = operand(first, options.transposeA, "the first matrix");
      // Held transposed, [columns, inner], so that both packed operands run along the inner dimension.
      const b = operand(second, !options.transposeB, "the second matrix");
      if (a.columns !== b.columns) {
        throw new LayerfoldError("TENSOR_SHAPE", "inner sizes of the product differ", {
          wanted: `${a.columns}`,
          got: `${b.columns}`,
        });
      }
      const [m, n, inner] = [a.rows, b.rows, a.columns];
      const sums = new Float64Array(m * n);
      const paddedN = Math.ceil(n / 4) * 4;
      const packedB = new Float64Array(paddedN * Math.min(depth, inner));
      const packedA = new Float64Array(2 * Math.min(depth, inner));
      for (let k0 = 0; k0 < inner; k0 += depth) {
        const size = Math.min(depth, inner - k0);
        for (let j = 0; j < n; j++) {
          pack(
            packedB,
            j * size,
            b.data,
            b.offset + j * b.rowStride + k0 * b.columnStride,
            b.columnStride,
            size,
          );
        }
        for (let i = 0; i < m; i += 2) {
          for (let r = 0; r < 2; r++) {
            const row = Math.min(i + r, m - 1);
            const start = a.offset + row * a.rowStride + k0 * a.columnStride;
            pack(packedA, r * size, a.data, start, a.columnStride, size);
          }
          multiplyRows(sums, i, m, n, packedA, packedB, size);
        }
      }
      const data = first.data instanceof Float64Array ? sums : new Float32Array(sums);
      return tensor(data, [m, n]) as unknown as M;
    },
  };
}

/** Adds two rows of A (packed) times all of Bᵀ (packed, rows padded to a multiple of four) to the sums. */
function multiplyRows(
  sums: Float64Array,
  i: number,
  m: number,
  n: number,
  packedA: Float64Array,
  packedB: Float64Array,
  size: number,
): void {
  const second = i + 1 < m;
  for (let j = 0; j < n; j += 4) {
    let [x0, x1, x2, x3, y0, y1, y2, y3] = [0, 0, 0, 0, 0, 0, 0, 0];
    const b0 = j * size;
    const b1 = b0 + size;
    const b2 = b1 + size;
    const b3 = b2 + size;
    for (let k = 0; k < size; k++) {
      const x = packedA[k];
      const y = packedA[size + k];
      const p = packedB[b0 + k];
      const q = packedB[b1 + k];
      const r = packedB[b2 + k];
      const s = packedB[b3 + k];
      x0 += x * p;
      x1 += x * q;
      x2 += x * r;
      x3 += x * s;
      y0 += y * p;
      y1 += y * q;
      y2 += y * r;
      y3 += y * s;
    }
    const at = i * n + j;
    const width = Math.min(4, n - j);
    sums[at] += x0;
    if (width > 1) sums[at + 1] += x1;
    if (width > 2) sums[at + 2] += x2;
    if (width > 3) sums[at + 3] += x3;
    if (!second) continue;
    sums[at + n] += y0;
    if (width > 1) sums[at + n + 1] += y1;
    if (width > 2) sums[at + n + 2] += y2;
    if (width > 3) sums[at + n + 3] += y3;
  }
}
