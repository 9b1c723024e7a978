import { decodeFloats, LayerfoldError, type QuantizedTensor } from "@layerfold/core";
import { packedWords, packRows, transposed, unpackRows } from "./bitstream.js";
import {
  checkShape,
  groupIndexOf,
  type PackedModule,
  type PackedTensor,
  refuse,
  required,
  requiredMatrix,
  scaleBytes,
  storedGroupSize,
  wordBytes,
  wordsOf,
} from "./packed-tensor.js";

/** How compressed-tensors lays a module out. */
export type CompressedTensorsLayout = "pack-quantized" | "int-quantized" | "float-quantized";

const floats = ["float16", "bfloat16", "float32"] as const;

/**
 * A quantised linear map as compressed-tensors stores it.
 *
 * - `pack-quantized`: weight_packed int32 [out, ceil(in·bits/32)] (the bitstream along the input), weight_scale [out, groups],
 *   weight_shape int64 [2]; asymmetric: weight_zero_point int32 [ceil(out·bits/32), groups] (along the output); with an order of channels:
 *   weight_g_idx int32 [in].
 * - `int-quantized`: weight int8 [out, in], weight_scale [out, groups]; asymmetric: weight_zero_point int8 [out, groups].
 * - `float-quantized`: weight float8_e4m3 [out, in], weight_scale [out, 1].
 *
 * Integer codes are signed there: code − 2^(bits−1), and so are zero points; packing adds the middle again.
 *
 * @param scaleDtype - type of weight_scale: the checkpoint's own
 * @throws QUANTIZATION_NOT_EXPRESSIBLE, SCALE_DTYPE_MISMATCH
 */
export function packCompressedTensors(
  quantized: QuantizedTensor,
  layout: CompressedTensorsLayout,
  scaleDtype: "float16" | "bfloat16" | "float32",
  where: string,
): PackedTensor[] {
  const { bits, codes, scales, zeroPoints, symmetric, groupIndex, encoding } = quantized;
  const [rows, columns] = quantized.shape;
  const groups = scales.length / rows;
  const scale: PackedTensor = {
    suffix: "weight_scale",
    dtype: scaleDtype,
    shape: [rows, groups],
    bytes: scaleBytes(scales, scaleDtype, where),
  };
  if ((encoding !== undefined) !== (layout === "float-quantized")) {
    refuse(
      layout,
      layout === "float-quantized" ? "float8 codes" : "integer codes",
      encoding ?? "integers",
      where,
    );
  }
  if (layout === "float-quantized") {
    return [{ suffix: "weight", dtype: "float8_e4m3", shape: [rows, columns], bytes: codes }, scale];
  }
  if (layout === "int-quantized") {
    if (bits !== 8) refuse(layout, "8 bits", `${bits} bits`, where);
    if (groupIndex) refuse(layout, "groups of neighbouring channels", "activation order", where);
    const weight: PackedTensor = {
      suffix: "weight",
      dtype: "int8",
      shape: [rows, columns],
      bytes: flipTopBit(codes),
    };
    if (symmetric) return [weight, scale];
    const zero: PackedTensor = {
      suffix: "weight_zero_point",
      dtype: "int8",
      shape: [rows, groups],
      bytes: flipTopBit(zeroPoints),
    };
    return [weight, scale, zero];
  }
  const tensors: PackedTensor[] = [
    {
      suffix: "weight_packed",
      dtype: "int32",
      shape: [rows, packedWords(columns, bits)],
      bytes: wordBytes(packRows(codes, rows, columns, bits)),
    },
    scale,
    {
      suffix: "weight_shape",
      dtype: "int64",
      shape: [2],
      bytes: new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(columns)).buffer),
    },
  ];
  if (!symmetric) {
    const words = packedWords(rows, bits);
    const along = packRows(transposed(zeroPoints, rows, groups), groups, rows, bits);
    tensors.push({
      suffix: "weight_zero_point",
      dtype: "int32",
      shape: [words, groups],
      bytes: wordBytes(transposed(along, groups, words)),
    });
  }
  if (groupIndex) {
    tensors.push({ suffix: "weight_g_idx", dtype: "int32", shape: [columns], bytes: wordBytes(groupIndex) });
  }
  return tensors;
}

/**
 * Reads `pack-quantized`, `int-quantized` and `float-quantized` (per tensor, per channel, or blocks) modules, whichever the tensors are.
 *
 * @param settings - what the module's config group says; bits are needed for `pack-quantized`
 * @throws QUANTIZED_TENSOR_INVALID, QUANTIZATION_UNSUPPORTED
 */
export function unpackCompressedTensors(
  module: PackedModule,
  settings: { bits: number; groupSize?: number; blockShape?: readonly [number, number] },
  where: string,
): QuantizedTensor {
  const scaleTensor = required(module, "weight_scale", floats, where);
  const stored = decodeFloats(scaleTensor.bytes, scaleTensor.dtype);
  if (module.has("weight_packed")) return unpackBitstream(module, stored, settings, where);
  const weight = requiredMatrix(module, "weight", ["int8", "float8_e4m3"], where);
  const [rows, columns] = weight.shape;
  const isFloat = weight.dtype === "float8_e4m3";
  const { scales, groups } = spreadScales(stored, scaleTensor.shape, rows, settings.blockShape, where);
  const declared = settings.blockShape?.[1] ?? settings.groupSize;
  const middle = isFloat ? 0 : 128;
  const zero = storedZeroPoints(module, scaleTensor, where);
  const asymmetric = !isFloat && zero !== undefined && zero.bytes.some((byte) => byte !== 0);
  return {
    bits: 8,
    shape: [rows, columns],
    groupSize: storedGroupSize(columns, groups, declared, where),
    symmetric: !asymmetric,
    codes: isFloat ? new Uint8Array(weight.bytes) : flipTopBit(weight.bytes),
    scales,
    zeroPoints: asymmetric
      ? spreadBytes(flipTopBit(zero.bytes), scales.length)
      : new Uint8Array(scales.length).fill(middle),
    ...(isFloat && { encoding: "float8_e4m3" as const }),
  };
}

function unpackBitstream(
  module: PackedModule,
  scales: Float32Array,
  settings: { bits: number; groupSize?: number },
  where: string,
): QuantizedTensor {
  const { bits } = settings;
  if (!Number.isSafeInteger(bits) || bits < 1 || bits > 8) {
    throw new LayerfoldError("QUANTIZATION_UNSUPPORTED", "cannot read codes of so many bits", {
      wanted: "1 to 8 bits",
      got: `${bits}`,
      where,
    });
  }
  const [rows, columns] = denseShape(module, where);
  const packed = requiredMatrix(module, "weight_packed", ["int32"], where);
  if (packed.shape[0] !== rows || packed.shape[1] !== packedWords(columns, bits)) {
    throw new LayerfoldError("QUANTIZED_TENSOR_INVALID", "weight_packed does not fit weight_shape", {
      wanted: `[${rows}, ${packedWords(columns, bits)}] for ${bits} bits`,
      got: `[${packed.shape.join(", ")}]`,
      where,
    });
  }
  const groups = scales.length / rows;
  checkShape(required(module, "weight_scale", floats, where), [rows, groups], where);
  const asymmetric = module.has("weight_zero_point");
  const words = packedWords(rows, bits);
  const zeroPoints = asymmetric
    ? transposed(
        unpackRows(
          transposed(wordsOf(module, "weight_zero_point", [words, groups], where), words, groups),
          groups,
          rows,
          bits,
        ),
        groups,
        rows,
      )
    : new Uint8Array(scales.length).fill(2 ** (bits - 1));
  return {
    bits,
    shape: [rows, columns],
    groupSize: storedGroupSize(columns, groups, settings.groupSize, where),
    symmetric: !asymmetric,
    codes: unpackRows(wordsOf(module, "weight_packed", packed.shape, where), rows, columns, bits),
    scales,
    zeroPoints,
    ...(module.has("weight_g_idx") && {
      groupIndex: groupIndexOf(module, "weight_g_idx", columns, groups, where),
    }),
  };
}

/**
 * Reads a float8 module as DeepSeek and Qwen store it: weight float8_e4m3 [out, in] and weight_scale_inv, one factor (in spite of its name)
 * per block of rows and columns, those at the edges smaller; or, as AutoFP8 does, weight_scale for the whole tensor or each row.
 *
 * @param blockShape - rows and columns of a block; needed with weight_scale_inv
 * @throws QUANTIZED_TENSOR_INVALID
 */
export function unpackFloat8(
  module: PackedModule,
  blockShape: readonly [number, number] | undefined,
  where: string,
): QuantizedTensor {
  const inverse = module.get("weight_scale_inv");
  if (!inverse) return unpackCompressedTensors(module, { bits: 8 }, where);
  const parts = new Map(module).set("weight_scale", inverse);
  return unpackCompressedTensors(parts, { bits: 8, ...(blockShape && { blockShape }) }, where);
}

/** What `weight_shape` says. @throws QUANTIZED_TENSOR_INVALID */
function denseShape(module: PackedModule, where: string): [rows: number, columns: number] {
  const stored = required(module, "weight_shape", ["int64", "int32"], where);
  checkShape(stored, [2], where);
  const [rows, columns] =
    stored.dtype === "int64"
      ? Array.from(new BigInt64Array(new Uint8Array(stored.bytes).buffer), Number)
      : wordsOf(module, "weight_shape", [2], where);
  if (rows > 0 && columns > 0) return [rows, columns];
  throw new LayerfoldError("QUANTIZED_TENSOR_INVALID", "weight_shape is no shape", {
    wanted: "two numbers above 0",
    got: `[${rows}, ${columns}]`,
    where,
  });
}

/** Zero points beside codes that are not packed: one for each scale. @throws QUANTIZED_TENSOR_INVALID */
function storedZeroPoints(
  module: PackedModule,
  scale: PackedTensor,
  where: string,
): PackedTensor | undefined {
  if (!module.has("weight_zero_point")) return undefined;
  const zero = required(module, "weight_zero_point", ["int8", "float8_e4m3"], where);
  if (zero.bytes.length !== 1) checkShape(zero, scale.shape, where);
  return zero;
}

/** One scale per row and group, from one for all, one per row, or one per block of rows and columns. */
function spreadScales(
  stored: Float32Array,
  shape: readonly number[],
  rows: number,
  blockShape: readonly [number, number] | undefined,
  where: string,
): { scales: Float32Array; groups: number } {
  const groups = shape[1] ?? 1;
  if (blockShape && Math.ceil(rows / blockShape[0]) === shape[0]) {
    const scales = Float32Array.from(
      { length: rows * groups },
      (_, i) => stored[Math.floor(Math.floor(i / groups) / blockShape[0]) * groups + (i % groups)],
    );
    return { scales, groups };
  }
  if (stored.length === 1) return { scales: new Float32Array(rows).fill(stored[0]), groups: 1 };
  if (shape[0] === rows) return { scales: stored, groups };
  throw new LayerfoldError("QUANTIZED_TENSOR_INVALID", "the scales fit neither rows nor blocks", {
    wanted: blockShape
      ? `[${Math.ceil(rows / blockShape[0])}, …] for blocks of ${blockShape.join(" × ")}`
      : `one scale, or one for each of ${rows} rows`,
    got: `[${shape.join(", ")}]`,
    where,
  });
}

function spreadBytes(values: Uint8Array, length: number): Uint8Array {
  return values.length === 1 ? new Uint8Array(length).fill(values[0]) : values;
}

/** Unsigned codes to two's complement (code − 128), and back. */
function flipTopBit(codes: Uint8Array): Uint8Array {
  return codes.map((code) => code ^ 0x80);
}
