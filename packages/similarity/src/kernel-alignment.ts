import {
  type Floats,
  LayerfoldError,
  type Matrix,
  type RunContext,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { constantLayer, innerProduct } from "./centered-layer.js";

/**
 * A centred kernel matrix over the samples, flattened by {@link upperTriangle} and divided by its Frobenius norm: the centred alignment (CKA)
 * of two layers is then an inner product (Kornblith et al. 2019, arXiv 1905.00414, eq. 3; Cortes et al. 2012).
 */
export interface CenteredKernel {
  readonly samples: number;
  readonly values: Floats;
}

/** Entries of every kernel that are multiplied at a time. */
const chunk = 1 << 16;

/**
 * The entries of a symmetric matrix on and above its diagonal, row by row, those above it times √2: an inner product of two such lists is that
 * of the matrices, at half the size.
 */
export function upperTriangle(kernel: Matrix): Floats {
  const [n] = kernel.shape;
  const { data } = kernel;
  const length = (n * (n + 1)) / 2;
  const out = data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
  for (let i = 0, to = 0; i < n; i++) {
    const start = i * n;
    out[to++] = data[start + i];
    for (let j = i + 1; j < n; j++) out[to++] = Math.SQRT2 * data[start + j];
  }
  return out;
}

/** Subtracts the mean of every row and column: H·K·H, H = I − 1/n, of a symmetric matrix in place. */
export function doubleCenter(kernel: Matrix): Matrix {
  const [n] = kernel.shape;
  const { data } = kernel;
  const means = new Float64Array(n);
  let total = 0;
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < n; j++, at++) means[i] += data[at];
    means[i] /= n;
    total += means[i] / n;
  }
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < n; j++, at++) data[at] += total - means[i] - means[j];
  }
  return kernel;
}

/**
 * U-centring of a symmetric matrix in place (Székely & Rizzo 2014, eq. 2.1), its diagonal taken as 0. The inner product of two U-centred
 * kernels divided by n(n − 3) is the unbiased HSIC of Song et al. 2012 (eq. 5).
 * @throws SAMPLES_TOO_FEW below 4 samples
 */
export function uCenter(kernel: Matrix): Matrix {
  const [n] = kernel.shape;
  if (n < 4) {
    throw new LayerfoldError("SAMPLES_TOO_FEW", "the unbiased HSIC needs more samples", {
      wanted: "at least 4",
      got: `${n}`,
    });
  }
  const { data } = kernel;
  const sums = new Float64Array(n);
  let total = 0;
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < n; j++, at++) if (i !== j) sums[i] += data[at];
    total += sums[i];
  }
  const shift = total / ((n - 1) * (n - 2));
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < n; j++, at++) {
      data[at] = i === j ? 0 : data[at] - (sums[i] + sums[j]) / (n - 2) + shift;
    }
  }
  return kernel;
}

/**
 * Divides by the norm, in place.
 * @throws LAYER_CONSTANT when the norm is 0
 */
export function unitKernel(samples: number, values: Floats): CenteredKernel {
  const norm = Math.sqrt(innerProduct(values, values));
  if (!(norm > 0)) throw constantLayer();
  for (let at = 0; at < values.length; at++) values[at] /= norm;
  return { samples, values };
}

/** @throws SAMPLE_COUNT_MISMATCH */
export function alignment(a: CenteredKernel, b: CenteredKernel): number {
  checkSamples(a, b);
  return innerProduct(a.values, b.values);
}

function checkSamples(a: CenteredKernel, b: CenteredKernel): void {
  if (a.samples !== b.samples) {
    throw new LayerfoldError("SAMPLE_COUNT_MISMATCH", "the layers hold different numbers of samples", {
      wanted: `${a.samples}`,
      got: `${b.samples}`,
    });
  }
}

/** Alignments of all pairs [kernels, kernels] by products through the engine, a slice of every kernel at a time. */
export async function alignmentOfAll(
  kernels: readonly CenteredKernel[],
  ctx: RunContext,
): Promise<Matrix<Float64Array>> {
  const count = kernels.length;
  for (const kernel of kernels) checkSamples(kernels[0], kernel);
  const sums = new Float64Array(count * count);
  const length = kernels[0].values.length;
  const wide = kernels.some(({ values }) => values instanceof Float64Array);
  for (let from = 0; from < length; from += chunk) {
    throwIfAborted(ctx.signal);
    const size = Math.min(chunk, length - from);
    const slice = wide ? new Float64Array(count * size) : new Float32Array(count * size);
    kernels.forEach(({ values }, l) => {
      slice.set(values.subarray(from, from + size), l * size);
    });
    const matrix: Matrix = tensor(slice, [count, size]);
    const { data } = await ctx.engine.matmul(matrix, matrix, { transposeB: true });
    for (let at = 0; at < sums.length; at++) sums[at] += data[at];
    ctx.report?.({
      type: "progress",
      stage: "similarity",
      done: from + size,
      total: length,
      unit: "kernel entries",
    });
  }
  return tensor(sums, [count, count]);
}
