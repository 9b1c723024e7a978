import { type Diagnostic, decodeFloats, LayerfoldError, type QuantizedTensor } from "@layerfold/core";
import { packedWords, packRows, transposed, unpackRows } from "./bitstream.js";
import {
  checkShape,
  groupIndexOf,
  type PackedModule,
  type PackedTensor,
  refuse,
  requiredMatrix,
  scaleBytes,
  storedGroupSize,
  wordBytes,
  wordsOf,
} from "./packed-tensor.js";

/** `gptq` (v1) stores zero point − 1, `gptq_v2` the zero point. */
export type GptqVersion = "gptq" | "gptq_v2";

/**
 * A quantised linear map as AutoGPTQ and GPTQModel store it: qweight int32 [in·bits/32, out] (the bitstream along the input, transposed),
 * qzeros int32 [groups, out·bits/32] (along the output), scales float16 [groups, out], g_idx int32 [in].
 *
 * @throws QUANTIZATION_NOT_EXPRESSIBLE where in or out is not a multiple of 32, or a v1 file would need the zero point 0
 */
export function packGptq(quantized: QuantizedTensor, version: GptqVersion, where: string): PackedTensor[] {
  const { bits, codes, scales, zeroPoints, groupSize, groupIndex, encoding } = quantized;
  const [rows, columns] = quantized.shape;
  if (encoding) refuse("GPTQ", "integer codes", encoding, where);
  if (rows % 32 !== 0 || columns % 32 !== 0)
    refuse("GPTQ", "multiples of 32", `[${rows}, ${columns}]`, where);
  const groups = scales.length / rows;
  const zeros = transposed(zeroPoints, rows, groups);
  if (version === "gptq") {
    // The packers OR the negative number into the word and so destroy the zero points beside it.
    if (zeros.includes(0)) {
      refuse("GPTQ v1", "zero points ≥ 1 (smallestZeroPoint: 1), or gptq_v2", "zero point 0", where);
    }
    for (let i = 0; i < zeros.length; i++) zeros[i]--;
  }
  const words = packedWords(columns, bits);
  const index = groupIndex ?? Int32Array.from({ length: columns }, (_, i) => Math.floor(i / groupSize));
  return [
    {
      suffix: "qweight",
      dtype: "int32",
      shape: [words, rows],
      bytes: wordBytes(transposed(packRows(codes, rows, columns, bits), rows, words)),
    },
    {
      suffix: "qzeros",
      dtype: "int32",
      shape: [groups, packedWords(rows, bits)],
      bytes: wordBytes(packRows(zeros, groups, rows, bits)),
    },
    {
      suffix: "scales",
      dtype: "float16",
      shape: [groups, rows],
      bytes: scaleBytes(transposed(scales, rows, groups), "float16", where),
    },
    { suffix: "g_idx", dtype: "int32", shape: [columns], bytes: wordBytes(index) },
  ];
}

/**
 * Reads what {@link packGptq} writes. A symmetric 4-bit file that says v1 but holds v2 zero points (8 instead of 7) is read as v2 and
 * reported (`GPTQ_MISLABELLED`); a v1 word of all ones, which some packers left where a zero point was 0, is reported
 * (`GPTQ_ZERO_POINT_UNDERFLOW`).
 *
 * @param settings.groupSize - as the config says
 * @throws QUANTIZED_TENSOR_INVALID
 */
export function unpackGptq(
  module: PackedModule,
  settings: { version: GptqVersion; groupSize?: number; symmetric: boolean },
  where: string,
  report?: (event: Diagnostic) => void,
): QuantizedTensor {
  const [words, rows] = requiredMatrix(module, "qweight", ["int32"], where).shape;
  const scaleTensor = requiredMatrix(module, "scales", ["float16", "bfloat16", "float32"], where);
  const [groups] = scaleTensor.shape;
  checkShape(scaleTensor, [groups, rows], where);
  const columns = module.get("g_idx")?.shape[0] ?? (settings.groupSize ?? 0) * groups;
  const bits = (words * 32) / columns;
  if (![2, 3, 4, 8].includes(bits)) {
    throw new LayerfoldError("QUANTIZED_TENSOR_INVALID", "qweight fits no number of bits", {
      wanted: "2, 3, 4 or 8 bits",
      got: `${words} words for ${columns} inputs`,
      where,
    });
  }
  const groupSize = storedGroupSize(columns, groups, settings.groupSize, where);
  const stored = wordsOf(module, "qzeros", [groups, packedWords(rows, bits)], where);
  const zeros = unpackRows(stored, groups, rows, bits);
  const mislabelled =
    settings.version === "gptq" &&
    settings.symmetric &&
    bits === 4 &&
    stored.every((word) => word === 0x88888888 >> 0);
  const warn = (code: string, message: string) =>
    report?.({ type: "diagnostic", severity: "warning", code, message });
  if (mislabelled)
    warn("GPTQ_MISLABELLED", `${where}: the zero points are those of gptq_v2 though the config says gptq`);
  if (settings.version === "gptq" && !mislabelled) {
    if (stored.includes(-1)) {
      warn(
        "GPTQ_ZERO_POINT_UNDERFLOW",
        `${where}: a word of zero points is all ones; its packer may have lost them`,
      );
    }
    for (let i = 0; i < zeros.length; i++) zeros[i] = (zeros[i] + 1) & (2 ** bits - 1);
  }
  const index = module.has("g_idx") ? groupIndexOf(module, "g_idx", columns, groups, where) : undefined;
  const trivial = !index || index.every((group, i) => group === Math.floor(i / groupSize));
  const unpacked: QuantizedTensor = {
    bits,
    shape: [rows, columns],
    groupSize,
    symmetric: settings.symmetric,
    codes: unpackRows(
      transposed(wordsOf(module, "qweight", [words, rows], where), words, rows),
      rows,
      columns,
      bits,
    ),
    scales: transposed(decodeFloats(scaleTensor.bytes, scaleTensor.dtype), groups, rows),
    zeroPoints: transposed(zeros, groups, rows),
  };
  return trivial ? unpacked : { ...unpacked, groupIndex: index };
}
