/**
 * A quantizer of one's own, in one file: rounding to nearest whose scale is fitted to the codes, in turn.
 *
 * In code: `quantizeCheckpoint(checkpoint, undefined, "out", { scheme: schemeOfPlugins([], leastSquaresRounding()) }, ctx)`. The command line takes it by
 * path: `layerfold quantize MODEL --scheme ./least-squares-rounding.ts --set quantizer.groupSize=64 --out DIR`, behind a transform too:
 * `--scheme smoothquant,./least-squares-rounding.ts --calibration F`.
 */
import {
  checkFinite,
  contiguousData,
  decodeFloats,
  defineQuantizer,
  encodeFloats,
  LayerfoldError,
  matrixSize,
  z,
} from "@layerfold/core";

const optionsSchema = z.strictObject({
  bits: z.literal([4, 8]).default(4).describe("bits of a code"),
  groupSize: z.number().int().min(1).default(64).describe("consecutive input channels that share a scale"),
  rounds: z
    .number()
    .int()
    .min(1)
    .default(8)
    .describe("times that codes and scales are fitted to one another, at most"),
  scaleDtype: z
    .literal(["float16", "bfloat16", "float32"])
    .default("bfloat16")
    .describe("type in which scales are stored: that of the checkpoint"),
});

/**
 * Symmetric rounding, scales by alternating least squares: for codes c the best scale is s = Σ w·c / Σ c², for a scale the best codes are the
 * nearest ones. Neither step raises the squared error of the weights, so it ends no worse than plain rounding, whose scale it starts from, but for the
 * rounding of the scale itself. Needs no calibration. O(rounds · out · in).
 *
 * @throws GROUP_SIZE_INVALID, WEIGHT_NOT_FINITE
 */
const leastSquaresRounding = defineQuantizer({
  id: "least-squares-rounding",
  summary: "round to nearest, scales fitted to the codes by least squares",
  optionsSchema,
  create: ({ bits, groupSize, rounds, scaleDtype }) => ({
    groupSize,
    quantize(weight) {
      const { rows, columns } = matrixSize(weight, "a weight");
      checkFinite(weight);
      if (columns % groupSize !== 0) {
        throw new LayerfoldError("GROUP_SIZE_INVALID", "the group size does not divide the input", {
          wanted: `a divisor of ${columns}`,
          got: `${groupSize}`,
        });
      }
      const values = Float32Array.from(contiguousData(weight));
      const middle = 2 ** (bits - 1);
      const stored = (scale: number) =>
        decodeFloats(encodeFloats(Float32Array.of(scale), scaleDtype), scaleDtype)[0];
      const scales = new Float32Array((rows * columns) / groupSize).fill(1);
      const codes = new Uint8Array(rows * columns).fill(middle);
      for (let group = 0; group < scales.length; group++) {
        const own = values.subarray(group * groupSize, (group + 1) * groupSize);
        const largest = own.reduce((most, w) => Math.max(most, Math.abs(w)), 0);
        if (largest === 0) continue;
        let best = { scale: 0, error: Number.POSITIVE_INFINITY };
        let scale = stored((2 * largest) / (2 ** bits - 1));
        for (let round = 0; round <= rounds && scale > 0; round++) {
          let [error, product, square] = [0, 0, 0];
          for (const w of own) {
            const code = nearest(w / scale, middle);
            error += (w - scale * code) ** 2;
            product += w * code;
            square += code * code;
          }
          if (error >= best.error) break;
          best = { scale, error };
          scale = stored(product / square);
        }
        scales[group] = best.scale;
        own.forEach((w, i) => {
          codes[group * groupSize + i] = middle + nearest(w / best.scale, middle);
        });
      }
      const zeroPoints = new Uint8Array(scales.length).fill(middle);
      return { bits, shape: [rows, columns], groupSize, symmetric: true, codes, scales, zeroPoints };
    },
  }),
});

export default leastSquaresRounding;

/** The nearest code, less the zero point: −middle … middle − 1. */
function nearest(x: number, middle: number): number {
  return Math.min(Math.max(Math.round(x), -middle), middle - 1);
}
