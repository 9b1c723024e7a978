import type { Matrix } from "./tensor.js";

export interface MatmulOptions {
  /** Use the transpose of the first matrix. */
  readonly transposeA?: boolean;
  /** Use the transpose of the second matrix. */
  readonly transposeB?: boolean;
}

/**
 * Matrix products: the one door to fast arithmetic. Both matrices have the same dtype (float32 or float64), which is also the
 * accumulation and result dtype. Inputs may be strided; the result is row-major. `matmul(x, x, { transposeA: true })` is a Gram matrix.
 */
export interface MatmulEngine {
  readonly id: string;
  /**
   * @param a - [m, k], or [k, m] with `transposeA`
   * @param b - [k, n], or [n, k] with `transposeB`
   * @returns [m, n]
   * @throws TENSOR_SHAPE when inner sizes differ, ENGINE_DTYPE when dtypes differ
   */
  matmul<M extends Matrix>(a: M, b: M, options?: MatmulOptions): Promise<M>;
}
