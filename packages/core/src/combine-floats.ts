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
  for (let start = 0; start < count; start += tileSize) {
    const length = Math.min(tileSize, count - start);
    const part = (bytes: Uint8Array, size: number) => bytes.subarray(start * size, (start + length) * size);
    const tiles = terms.map((term) => ({ ...term, bytes: part(term.bytes, bytesPerElement(term.dtype)) }));
    if (!combineTile(tiles, dtype, part(target, bytesPerElement(dtype)), length)) return false;
  }
  return true;
}

function combineTile(terms: readonly FloatTerm[], dtype: DType, target: Uint8Array, count: number): boolean {
  const { floats, floatBytes, sums, ...kernels } = floatKernels();
  const added = terms.filter(({ factor }) => factor !== 0);
  // To be looked at before anything is added: that takes the sums' place.
  for (const { bytes, dtype: stored, factor } of terms) {
    if (factor !== 0) continue;
    loadTile(bytes, stored);
    if (kernels.largest(count) >= infinity) return false;
  }
  if (added.length === 0) sums.fill(0);
  for (const [index, { bytes, dtype: stored, factor }] of added.entries()) {
    loadTile(bytes, stored);
    const add = index === 0 ? kernels.scale : kernels.accumulate;
    if (add(count, factor) >= infinity) return false;
  }
  kernels.round(count);
  if (dtype === "bfloat16" || dtype === "float16") return storeHalves(target, dtype);
  if (kernels.largest(count) >= infinity) return false;
  if (dtype === "float64") target.set(new Uint8Array(Float64Array.from(floats.subarray(0, count)).buffer));
  else target.set(floatBytes.subarray(0, target.byteLength));
  return true;
}
