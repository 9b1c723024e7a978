import {
  contiguousData,
  defineQuantizer,
  type Matrix,
  matrixSize,
  type QuantizedTensor,
  z,
} from "@layerfold/core";
import { fitGrid, type GridRule, gridOptions, resolveGroupSize, roundHalfEven } from "./grid.js";

/**
 * Rounds every weight to the nearest point of its group's grid: the control that every other quantizer must beat.
 * Needs no calibration. Time O(out·in).
 */
export const rtn = defineQuantizer({
  id: "rtn",
  summary: "round to nearest (the control)",
  optionsSchema: z.strictObject(gridOptions),
  create: ({ groupSize, ...rule }) => ({
    groupSize,
    quantize: (weight) => roundToNearest(weight, groupSize, rule),
  }),
});

/**
 * Codes nearest to the weights: code = clamp(round(w / scale) + zero, 0, 2^bits − 1), ties to even, quotient in float32 as the
 * reference packers have it.
 *
 * @param weight - [out, in]
 * @throws GROUP_SIZE_INVALID, WEIGHT_NOT_FINITE, SCALE_OVERFLOW
 */
export function roundToNearest(weight: Matrix, groupSize: number, rule: GridRule): QuantizedTensor {
  const { rows, columns } = matrixSize(weight, "a weight");
  const size = resolveGroupSize(columns, groupSize);
  const groups = columns / size;
  const values = contiguousData(weight);
  const codes = new Uint8Array(rows * columns);
  const scales = new Float32Array(rows * groups);
  const zeroPoints = new Uint8Array(rows * groups);
  const top = 2 ** rule.bits - 1;
  for (let g = 0, start = 0; g < scales.length; g++, start += size) {
    const { scale, zeroPoint } = fitGrid(values, start, start + size, rule);
    scales[g] = scale;
    zeroPoints[g] = zeroPoint;
    for (let i = start; i < start + size; i++) {
      const code = roundHalfEven(Math.fround(values[i] / scale)) + zeroPoint;
      codes[i] = Math.min(Math.max(code, 0), top);
    }
  }
  return {
    bits: rule.bits,
    shape: [rows, columns],
    groupSize: size,
    symmetric: rule.symmetric,
    codes,
    scales,
    zeroPoints,
  };
}
