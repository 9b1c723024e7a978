import { decodeFloats, LayerfoldError, type QuantizedTensor } from "@layerfold/core";
import { packRows, transposed, unpackRows } from "./bitstream.js";
import {
  type PackedModule,
  type PackedTensor,
  refuse,
  requiredMatrix,
  scaleBytes,
  storedGroupSize,
  wordBytes,
  wordsOf,
} from "./packed-tensor.js";

/** Which of a word's eight output columns lies in nibble i. */
const columnInSlot = [0, 2, 4, 6, 1, 3, 5, 7];

/**
 * A quantised linear map as AutoAWQ's "gemm" stores it: qweight int32 [in, out/8], qzeros int32 [groups, out/8] (bitstreams along the
 * output, the columns of each word in the order 0 2 4 6 1 3 5 7), scales float16 [groups, out].
 *
 * @throws QUANTIZATION_NOT_EXPRESSIBLE for other than 4 bits, an output that is not a multiple of 8, or an order of channels
 */
export function packAwq(quantized: QuantizedTensor, where: string): PackedTensor[] {
  const { bits, codes, scales, zeroPoints, groupIndex, encoding } = quantized;
  const [rows, columns] = quantized.shape;
  if (bits !== 4 || encoding) refuse("AWQ", "4 bits", encoding ?? `${bits} bits`, where);
  if (groupIndex)
    refuse("AWQ", "groups of neighbouring channels", "activation order without static groups", where);
  if (rows % 8 !== 0) refuse("AWQ", "a multiple of 8 outputs", `${rows}`, where);
  const groups = scales.length / rows;
  const pack = (values: Uint8Array, lines: number) =>
    wordBytes(packRows(interleaved(transposed(values, rows, lines), false), lines, rows, 4));
  return [
    { suffix: "qweight", dtype: "int32", shape: [columns, rows / 8], bytes: pack(codes, columns) },
    { suffix: "qzeros", dtype: "int32", shape: [groups, rows / 8], bytes: pack(zeroPoints, groups) },
    {
      suffix: "scales",
      dtype: "float16",
      shape: [groups, rows],
      bytes: scaleBytes(transposed(scales, rows, groups), "float16", where),
    },
  ];
}

/** Reads what {@link packAwq} writes. @throws QUANTIZED_TENSOR_INVALID */
export function unpackAwq(
  module: PackedModule,
  settings: { groupSize?: number; symmetric: boolean },
  where: string,
): QuantizedTensor {
  const qweight = requiredMatrix(module, "qweight", ["int32"], where);
  const scaleTensor = requiredMatrix(module, "scales", ["float16", "bfloat16", "float32"], where);
  const [columns, words] = qweight.shape;
  const [groups, rows] = scaleTensor.shape;
  if (words * 8 !== rows) {
    throw new LayerfoldError("QUANTIZED_TENSOR_INVALID", "qweight and scales disagree on the outputs", {
      wanted: `${rows / 8} words`,
      got: `${words}`,
      where,
    });
  }
  const unpack = (suffix: string, lines: number) =>
    transposed(
      interleaved(unpackRows(wordsOf(module, suffix, [lines, words], where), lines, rows, 4), true),
      lines,
      rows,
    );
  return {
    bits: 4,
    shape: [rows, columns],
    groupSize: storedGroupSize(columns, groups, settings.groupSize, where),
    symmetric: settings.symmetric,
    codes: unpack("qweight", columns),
    scales: transposed(decodeFloats(scaleTensor.bytes, scaleTensor.dtype), groups, rows),
    zeroPoints: unpack("qzeros", groups),
  };
}

/** Every eight neighbours reordered into AWQ's slots, or back. */
function interleaved(values: Uint8Array, back: boolean): Uint8Array {
  const out = new Uint8Array(values.length);
  for (let start = 0; start < values.length; start += 8) {
    for (let slot = 0; slot < 8; slot++) {
      const plain = start + columnInSlot[slot];
      if (back) out[plain] = values[start + slot];
      else out[start + slot] = values[plain];
    }
  }
  return out;
}
