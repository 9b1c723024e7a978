import { type Matrix, type QuantizedTensor, tensor } from "@layerfold/core";
import { fromFloat8Bits } from "./float8.js";

/**
 * The weights that codes stand for: w = scale · (code − zeroPoint), in float32.
 *
 * @returns [out, in] float32
 *
 * @example
 * ```ts
 * const weight = dequantize({
 *   bits: 4, shape: [1, 4], groupSize: 2, symmetric: true,
 *   codes: Uint8Array.of(0, 15, 8, 9), scales: Float32Array.of(0.5, 2), zeroPoints: Uint8Array.of(8, 8),
 * });
 * assert([...weight.data].join() === "-4,3.5,0,2");
 * ```
 */
export function dequantize(quantized: QuantizedTensor): Matrix<Float32Array> {
  const { shape, groupSize, codes, scales, zeroPoints, groupIndex, encoding } = quantized;
  const [rows, columns] = shape;
  const groups = scales.length / rows;
  const meaning = Float32Array.from({ length: 256 }, (_, code) =>
    encoding === "float8_e4m3" ? fromFloat8Bits(code) : code,
  );
  const groupOf = groupIndex ?? Int32Array.from({ length: columns }, (_, i) => Math.floor(i / groupSize));
  const out = new Float32Array(codes.length);
  for (let row = 0, i = 0; row < rows; row++) {
    const start = row * groups;
    for (let column = 0; column < columns; column++, i++) {
      const group = start + groupOf[column];
      out[i] = scales[group] * (meaning[codes[i]] - zeroPoints[group]);
    }
  }
  return tensor(out, [rows, columns]);
}
