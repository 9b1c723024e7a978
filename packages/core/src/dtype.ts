import { LayerfoldError } from "./error.js";
import { floatKernels, tileSize } from "./float-kernels.js";
import { clearBehind, loadTile, storeHalves } from "./float-tiles.js";

/** Element types that checkpoints hold, by their full names. */
export type DType =
  | "float64"
  | "float32"
  | "float16"
  | "bfloat16"
  | "float8_e4m3"
  | "float8_e5m2"
  | "int64"
  | "int32"
  | "int16"
  | "int8"
  | "uint64"
  | "uint32"
  | "uint16"
  | "uint8"
  | "bool";

const bytes: Record<DType, number> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float8_e4m3: 1,
  float8_e5m2: 1,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint64: 8,
  uint32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
};

/** Size of one element in bytes. */
export function bytesPerElement(dtype: DType): number {
  return bytes[dtype];
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** Bits of the bfloat16 nearest to `value`, ties to even; NaN stays NaN. */
export function toBfloat16Bits(value: number): number {
  f32[0] = value;
  const bits = u32[0];
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Value of a bfloat16 given as bits. Exact. */
export function fromBfloat16Bits(bits: number): number {
  u32[0] = bits << 16;
  return f32[0];
}

/** Bits of the IEEE half nearest to `value` (taken as float32), ties to even; overflow gives infinity. */
export function toFloat16Bits(value: number): number {
  f32[0] = value;
  const bits = u32[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal half: a multiple of 2^-24. Adding 0.5 lines the float32 mantissa up with that step.
    f32[0] = Math.abs(value) + 0.5;
    return sign | (u32[0] - 0x3f000000);
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** Value of an IEEE half given as bits. Exact. */
export function fromFloat16Bits(bits: number): number {
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * Decodes little-endian floating-point bytes to float32.
 *
 * @param source - the raw bytes of one tensor; need not be aligned
 * @param dtype - float64 (rounded), float32, float16 or bfloat16
 * @returns a new array of `source.byteLength / bytesPerElement(dtype)` values
 * @throws DTYPE_UNSUPPORTED for any other dtype
 */
export function decodeFloats(source: Uint8Array, dtype: DType): Float32Array<ArrayBuffer> {
  const target = new Float32Array(source.byteLength / bytesPerElement(dtype));
  decodeFloatsInto(source, dtype, target);
  return target;
}

/**
 * As `decodeFloats`, into an array that is there: for whoever reads piece by piece.
 *
 * @param target - [source.byteLength / bytesPerElement(dtype)]
 * @throws DTYPE_UNSUPPORTED; TENSOR_SHAPE where the target has another length
 */
export function decodeFloatsInto(source: Uint8Array, dtype: DType, target: Float32Array): void {
  const size = bytesPerElement(dtype);
  const count = source.byteLength / size;
  if (target.length !== count) {
    throw new LayerfoldError("TENSOR_SHAPE", "the array does not fit the bytes that are to be decoded", {
      wanted: `${count} values`,
      got: `${target.length}`,
    });
  }
  if (dtype === "float32") {
    new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(source);
    return;
  }
  const { floats } = floatKernels();
  // Of no bytes at all it is the type that may be refused.
  for (let start = 0; start === 0 || start < count; start += tileSize) {
    const length = Math.min(tileSize, count - start);
    loadTile(source.subarray(start * size, (start + length) * size), dtype);
    target.set(floats.subarray(0, length), start);
  }
}

/**
 * Encodes numbers as little-endian floating-point bytes, rounding to nearest even.
 *
 * @param values - row-major values
 * @param dtype - float64, float32, float16 or bfloat16
 * @returns bytes; a view of `values` itself where no conversion is needed
 * @throws DTYPE_UNSUPPORTED for any other dtype, FLOAT_OVERFLOW where a finite number would become infinite, naming its index
 */
export function encodeFloats(values: Float32Array | Float64Array, dtype: DType): Uint8Array {
  const view = (array: Float32Array | Float64Array) =>
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  switch (dtype) {
    case "float32": {
      if (values instanceof Float32Array) return view(values);
      const out = Float32Array.from(values);
      const lost = out.findIndex((x, i) => !Number.isFinite(x) && Number.isFinite(values[i]));
      if (lost >= 0) throw overflow(values[lost], lost, dtype);
      return view(out);
    }
    case "float64":
      return view(values instanceof Float64Array ? values : Float64Array.from(values));
    case "bfloat16":
    case "float16":
      return encodeHalves(values, dtype);
    default:
      throw new LayerfoldError("DTYPE_UNSUPPORTED", "cannot write numbers as this element type", {
        wanted: "float64, float32, float16 or bfloat16",
        got: dtype,
      });
  }
}

function encodeHalves(values: Float32Array | Float64Array, dtype: "bfloat16" | "float16"): Uint8Array {
  const out = new Uint16Array(values.length);
  const bytes = new Uint8Array(out.buffer);
  const { floats } = floatKernels();
  const toBits = dtype === "bfloat16" ? toBfloat16Bits : toFloat16Bits;
  const infinite = dtype === "bfloat16" ? 0x7f80 : 0x7c00;
  for (let start = 0; start < values.length; start += tileSize) {
    const part = values.subarray(start, start + tileSize);
    floats.set(part);
    clearBehind(part.length);
    if (storeHalves(bytes.subarray(2 * start, 2 * (start + part.length)), dtype)) continue;
    for (const [i, value] of part.entries()) {
      const bits = (out[start + i] = toBits(value));
      if ((bits & 0x7fff) === infinite && Number.isFinite(value)) throw overflow(value, start + i, dtype);
    }
  }
  return bytes;
}

function overflow(value: number, index: number, dtype: DType): LayerfoldError {
  const largest = { float16: "65504", bfloat16: "3.3895e38" }[dtype as string] ?? "3.4028e38";
  return new LayerfoldError("FLOAT_OVERFLOW", `a number does not fit ${dtype}`, {
    wanted: `at most ${largest} in size`,
    got: `${value} at index ${index}`,
  });
}
