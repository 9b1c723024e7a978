import type { QuantizedTensor } from "@layerfold/core";
import { packedWords, packRows } from "./bitstream.js";
import { refuse } from "./packed-tensor.js";

/** Inputs of ONNX Runtime's `com.microsoft::MatMulNBits`. */
export interface MatMulNBitsInputs {
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  /** [out, blocks, blockSize·bits/8] bytes. */
  readonly weight: Uint8Array;
  /** [out, blocks]. */
  readonly scales: Float32Array;
  /** [out, ceil(blocks·bits/8)] bytes; absent where all are 2^(bits−1). */
  readonly zeroPoints?: Uint8Array;
}

/**
 * A quantised linear map as `MatMulNBits` reads it: the bitstream's bytes along the input, block by block. Where groups divide the input,
 * these are the bytes of compressed-tensors' `weight_packed`.
 *
 * @throws QUANTIZATION_NOT_EXPRESSIBLE for 3 bits, float8, an order of channels, or a group size that is no power of two ≥ 16
 */
export function matMulNBits(quantized: QuantizedTensor, where: string): MatMulNBitsInputs {
  const { bits, codes, scales, zeroPoints, groupSize, groupIndex, encoding } = quantized;
  const [rows, columns] = quantized.shape;
  if (encoding || (bits !== 2 && bits !== 4 && bits !== 8)) {
    return refuse("MatMulNBits", "2, 4 or 8 bits", encoding ?? `${bits} bits`, where);
  }
  if (groupIndex) refuse("MatMulNBits", "groups of neighbouring channels", "activation order", where);
  if (groupSize < 16 || (groupSize & (groupSize - 1)) !== 0 || columns % groupSize !== 0) {
    refuse("MatMulNBits", "a power of two ≥ 16 that divides the input", `groups of ${groupSize}`, where);
  }
  const packed = packRows(codes, rows, columns, bits);
  const weight = new Uint8Array(packed.buffer);
  if (zeroPoints.every((zero) => zero === 2 ** (bits - 1)))
    return { bits, blockSize: groupSize, weight, scales };
  // A row of zero points is padded to a whole byte, not to a word.
  const groups = columns / groupSize;
  const bytesPerRow = Math.ceil((groups * bits) / 8);
  const wide = new Uint8Array(packRows(zeroPoints, rows, groups, bits).buffer);
  const stride = packedWords(groups, bits) * 4;
  const zeros = new Uint8Array(rows * bytesPerRow);
  for (let row = 0; row < rows; row++) {
    zeros.set(wide.subarray(row * stride, row * stride + bytesPerRow), row * bytesPerRow);
  }
  return { bits, blockSize: groupSize, weight, scales, zeroPoints: zeros };
}
