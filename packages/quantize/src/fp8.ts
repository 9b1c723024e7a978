import { checkFinite, contiguousData, defineQuantizer, matrixSize, z } from "@layerfold/core";
import { float8Maximum, toFloat8Bits } from "./float8.js";
import { storedScale } from "./grid.js";

/**
 * Rounds every weight to the nearest float8 e4m3 number after scaling its row's largest to 448 (compressed-tensors FP8_DYNAMIC):
 * scale = max|w| / 448 per output channel. Needs no calibration. A row of zeros gets scale 1.
 *
 * @throws WEIGHT_NOT_FINITE, SCALE_OVERFLOW
 */
export const fp8 = defineQuantizer({
  id: "fp8",
  summary: "round to float8 e4m3, one scale per output channel",
  optionsSchema: z.strictObject({
    scaleDtype: z
      .literal(["float16", "bfloat16", "float32"])
      .default("bfloat16")
      .describe("type in which the scale will be stored"),
  }),
  create: ({ scaleDtype }) => ({
    quantize(weight) {
      const { rows, columns } = matrixSize(weight, "a weight");
      checkFinite(weight);
      const values = contiguousData(weight);
      const codes = new Uint8Array(values.length);
      const scales = new Float32Array(rows);
      for (let row = 0; row < rows; row++) {
        const start = row * columns;
        let largest = 0;
        for (let i = start; i < start + columns; i++) largest = Math.max(largest, Math.abs(values[i]));
        scales[row] = largest === 0 ? 1 : storedScale(largest / float8Maximum, scaleDtype);
        for (let i = start; i < start + columns; i++) codes[i] = toFloat8Bits(values[i] / scales[row]);
      }
      return {
        bits: 8,
        shape: [rows, columns],
        groupSize: columns,
        symmetric: true,
        codes,
        scales,
        zeroPoints: new Uint8Array(rows),
        encoding: "float8_e4m3",
      };
    },
  }),
});
