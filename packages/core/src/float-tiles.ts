import type { DType } from "./dtype.js";
import { LayerfoldError } from "./error.js";
import { floatKernels } from "./float-kernels.js";

/**
 * Decodes a tile's bytes into the kernels' floats, zeros behind them.
 * @param source - at most `tileSize` values; need not be aligned
 * @throws DTYPE_UNSUPPORTED
 */
export function loadTile(source: Uint8Array, dtype: DType): void {
  const kernels = floatKernels();
  let count: number;
  switch (dtype) {
    case "float32":
      kernels.floatBytes.set(source);
      count = source.byteLength / 4;
      break;
    case "float64": {
      // A typed array needs an aligned start, which positions in a file do not promise.
      const values = new Float64Array(source.slice().buffer);
      kernels.floats.set(values);
      count = values.length;
      break;
    }
    case "bfloat16":
    case "float16":
      kernels.halfBytes.set(source);
      count = source.byteLength / 2;
      if (dtype === "bfloat16") kernels.decodeBfloat16(count);
      else kernels.decodeFloat16(count);
      break;
    default:
      throw new LayerfoldError("DTYPE_UNSUPPORTED", "cannot read this element type as numbers", {
        wanted: "float64, float32, float16 or bfloat16",
        got: dtype,
      });
  }
  clearBehind(count);
}

/** Zeros behind a tile's floats, where kernels look on. */
export function clearBehind(count: number): void {
  if (count % 8 !== 0) floatKernels().floats.fill(0, count, Math.ceil(count / 8) * 8);
}

/**
 * Encodes the kernels' first floats, zeros behind them, as halves.
 * @param target - 2 bytes for each
 * @returns whether none is larger than the largest of that type; where one is, what was written for NaN is unspecified
 */
export function storeHalves(target: Uint8Array, dtype: "bfloat16" | "float16"): boolean {
  const kernels = floatKernels();
  const count = target.byteLength / 2;
  const largest = dtype === "bfloat16" ? kernels.encodeBfloat16(count) : kernels.encodeFloat16(count);
  target.set(kernels.halfBytes.subarray(0, target.byteLength));
  return largest <= largestBits[dtype];
}

/** The largest finite number as a float32's bits. */
const largestBits = { bfloat16: 0x7f7f0000, float16: 0x477fe000 } as const;
