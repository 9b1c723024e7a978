import { bytesPerElement, type DType } from "./dtype.js";
import { LayerfoldError } from "./error.js";
import { floatKernels, tileSize } from "./float-kernels.js";
import { loadTile, storeHalves } from "./float-tiles.js";

/** One array of a linear combination, as bytes, and what it is multiplied by. */
export interface FloatTerm {
  readonly bytes: Uint8Array;
  readonly dtype: DType;
  readonly factor: number;
}

const infinity = 0x7f800000;

/**
 * Σ factor·value of arrays that lie as bytes, into bytes: values as float32, summed in float64 in the order given, rounded to float32 and then
 * to `dtype`. A term of factor 0 is looked at and not added. O(values of all terms), about 1 ns each; no memory.
 *
 * @param terms - of one length; float64 (rounded), float32, float16 or bfloat16
 * @param target - bytes of as many values as each term has
 * @returns whether everything is finite, what went in and what came out; where not, what came out is unspecified. Of
 * numbers that round down to the largest of `dtype` it may be said that they are not.
 * @throws DTYPE_UNSUPPORTED; TENSOR_SHAPE where lengths differ
 */
export function combineFloats(terms: readonly FloatTerm[], dtype: DType, target: Uint8Array): boolean {
  const count = target.byteLength / bytesPerElement(dtype);
  for (const { bytes, dtype: stored } of terms) {
    const got = bytes.byteLength / bytesPerElement(stored);
    if (got === count) continue;
    throw new LayerfoldError("TENSOR_SHAPE", "arrays of different lengths cannot be combined", {
      wanted: `${count} values`,
      got: `${got}`,
    });
  }
  // To be looked at before anything is added: that takes the sums' place.
  const looked = terms.filter(({ factor }) => factor === 0);
  const added = terms.filter(({ factor }) => factor !== 0);
  for (let start = 0; start < count; start += tileSize) {
    if (!combineTile(looked, added, dtype, target, start, Math.min(tileSize, count - start))) return false;
  }
  return true;
}

/** `count` values from `start` on. */
function combineTile(
  looked: readonly FloatTerm[],
  added: readonly FloatTerm[],
  dtype: DType,
  target: Uint8Array,
  start: number,
  count: number,
): boolean {
  const kernels = floatKernels();
  for (const { bytes, dtype: stored } of looked) {
    loadTile(part(bytes, stored, start, count), stored);
    if (kernels.largest(count) >= infinity) return false;
  }
  if (added.length === 0) kernels.sums.fill(0);
  for (let i = 0; i < added.length; i++) {
    const { bytes, dtype: stored, factor } = added[i];
    loadTile(part(bytes, stored, start, count), stored);
    const largest = i === 0 ? kernels.scale(count, factor) : kernels.accumulate(count, factor);
    if (largest >= infinity) return false;
  }
  kernels.round(count);
  const made = part(target, dtype, start, count);
  if (dtype === "bfloat16" || dtype === "float16") return storeHalves(made, dtype);
  if (kernels.largest(count) >= infinity) return false;
  if (dtype === "float64")
    made.set(new Uint8Array(Float64Array.from(kernels.floats.subarray(0, count)).buffer));
  else made.set(kernels.floatBytes.subarray(0, made.byteLength));
  return true;
}

function part(bytes: Uint8Array, dtype: DType, start: number, count: number): Uint8Array {
  const size = bytesPerElement(dtype);
  return bytes.subarray(start * size, (start + count) * size);
}
