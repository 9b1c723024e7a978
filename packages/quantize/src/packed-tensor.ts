import { type DType, encodeFloats, LayerfoldError } from "@layerfold/core";
import { storedValue } from "./grid.js";

/** One tensor of a quantised linear map as a file holds it; its full name is `MODULE.suffix`. */
export interface PackedTensor {
  readonly suffix: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** The tensors of one module by suffix. */
export type PackedModule = ReadonlyMap<string, PackedTensor>;

/** Little-endian bytes of words. */
export function wordBytes(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

/** The 32-bit words of a stored tensor of this shape. @throws QUANTIZED_TENSOR_INVALID */
export function wordsOf(
  module: PackedModule,
  suffix: string,
  shape: readonly number[],
  where: string,
): Int32Array {
  const found = required(module, suffix, ["int32"], where);
  checkShape(found, shape, where);
  return new Int32Array(new Uint8Array(found.bytes).buffer);
}

/** For each input channel its group. @throws QUANTIZED_TENSOR_INVALID where one names a group that there is not */
export function groupIndexOf(
  module: PackedModule,
  suffix: string,
  columns: number,
  groups: number,
  where: string,
): Int32Array {
  const index = wordsOf(module, suffix, [columns], where);
  const wrong = index.find((group) => group < 0 || group >= groups);
  if (wrong === undefined) return index;
  throw new LayerfoldError("QUANTIZED_TENSOR_INVALID", "a channel stands in a group that there is not", {
    wanted: `0 to ${groups - 1}`,
    got: `${wrong}`,
    where: `${where}.${suffix}`,
  });
}

/** The same as {@link required} of a matrix. @throws QUANTIZED_TENSOR_INVALID */
export function requiredMatrix(
  module: PackedModule,
  suffix: string,
  dtypes: readonly DType[],
  where: string,
): PackedTensor & { readonly shape: readonly [number, number] } {
  const { shape, ...found } = required(module, suffix, dtypes, where);
  const [rows, columns] = shape;
  if (shape.length === 2 && rows > 0 && columns > 0) return { ...found, shape: [rows, columns] };
  throw wrongShape(suffix, "[rows, columns]", shape, where);
}

/** @throws QUANTIZED_TENSOR_INVALID */
export function checkShape(tensor: PackedTensor, wanted: readonly number[], where: string): void {
  const { suffix, shape } = tensor;
  if (shape.length === wanted.length && shape.every((size, axis) => size === wanted[axis])) return;
  throw wrongShape(suffix, `[${wanted.join(", ")}]`, shape, where);
}

function wrongShape(suffix: string, wanted: string, shape: readonly number[], where: string): LayerfoldError {
  return new LayerfoldError("QUANTIZED_TENSOR_INVALID", "a tensor of a quantised module has another shape", {
    wanted,
    got: `[${shape.join(", ")}]`,
    where: `${where}.${suffix}`,
  });
}

/** A module's tensor, which must be there and of one of these types. @throws QUANTIZED_TENSOR_INVALID */
export function required(
  module: PackedModule,
  suffix: string,
  dtypes: readonly DType[],
  where: string,
): PackedTensor {
  const found = module.get(suffix);
  if (found && dtypes.includes(found.dtype)) return found;
  throw new LayerfoldError(
    "QUANTIZED_TENSOR_INVALID",
    "a tensor of a quantised module is missing or of another type",
    {
      wanted: dtypes.join(" or "),
      got: found ? found.dtype : "nothing",
      where: `${where}.${suffix}`,
    },
  );
}

/**
 * Scales as a file stores them. They must have been chosen in that type: rounding them now would move every weight.
 * @throws SCALE_DTYPE_MISMATCH
 */
export function scaleBytes(
  scales: Float32Array,
  dtype: "float16" | "bfloat16" | "float32",
  where: string,
): Uint8Array {
  const wrong = scales.find((scale) => storedValue(scale, dtype) !== scale);
  if (wrong !== undefined) {
    throw new LayerfoldError("SCALE_DTYPE_MISMATCH", "a scale does not fit the type that the file stores", {
      wanted: `scales rounded to ${dtype} (the quantizer's scaleDtype)`,
      got: `${wrong}`,
      where,
    });
  }
  return encodeFloats(scales, dtype);
}

/**
 * Input channels per group of a stored module.
 * @param declared - what the config says; −1 or undefined where it does not
 * @throws QUANTIZED_TENSOR_INVALID where the number of groups fits no size
 */
export function storedGroupSize(
  columns: number,
  groups: number,
  declared: number | undefined,
  where: string,
): number {
  if (
    declared !== undefined &&
    Number.isSafeInteger(declared) &&
    declared > 0 &&
    Math.ceil(columns / declared) === groups
  ) {
    return declared;
  }
  if (columns % groups === 0) return columns / groups;
  throw new LayerfoldError("QUANTIZED_TENSOR_INVALID", "the scales fit no group size", {
    wanted:
      declared === undefined ? `a divisor of ${columns}` : `groups of ${declared} in ${columns} channels`,
    got: `${groups} groups`,
    where,
  });
}

/** Refuses what a format cannot say. @throws QUANTIZATION_NOT_EXPRESSIBLE */
export function refuse(format: string, wanted: string, got: string, where: string): never {
  throw new LayerfoldError("QUANTIZATION_NOT_EXPRESSIBLE", `${format} files cannot hold this`, {
    wanted,
    got,
    where,
  });
}
