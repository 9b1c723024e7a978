import {
  type CalibrationStatistics,
  contiguousData,
  type Matrix,
  type Role,
  type RunContext,
  type Tap,
  type Tensor,
  tensor,
  zeros,
} from "@layerfold/core";
import { addGram } from "@layerfold/linalg";

/** The value inside a block that a linear map reads. */
export function inputTap(role: Role): Tap {
  if (role === "attention.output") return "attention.heads";
  if (role === "mlp.down") return "mlp.hidden";
  if (role.startsWith("attention.")) return "attention.input";
  const expert = /^experts\.(\d+)\.down$/.exec(role);
  return expert ? `experts.${Number(expert[1])}.hidden` : "mlp.input";
}

/**
 * Accumulates what calibration says about one input. Products are float32 within a batch, sums over batches float64: rounding stays four
 * orders of magnitude below the damping that every user of the Gram matrix adds.
 */
export function statisticsAccumulator(width: number) {
  const gram = zeros([width, width], "float64");
  const absoluteMaximum = new Float64Array(width);
  const absoluteSum = new Float64Array(width);
  let tokenCount = 0;
  return {
    /**
     * @param values - [batch, sequence, width]
     * @param lengths - real tokens of each row; the rest is left out
     */
    async add(values: Tensor<Float32Array>, lengths: Int32Array, ctx: RunContext): Promise<void> {
      const tokens = realTokens(values, lengths, width);
      await addGram(gram, tokens, ctx);
      const { data } = tokens;
      for (let i = 0; i < data.length; ) {
        for (let j = 0; j < width; j++, i++) {
          const magnitude = Math.abs(data[i]);
          if (magnitude > absoluteMaximum[j]) absoluteMaximum[j] = magnitude;
          absoluteSum[j] += magnitude;
        }
      }
      tokenCount += tokens.shape[0];
    },
    finish(): CalibrationStatistics {
      return {
        tokenCount,
        gram,
        absoluteMaximum,
        absoluteMean: absoluteSum.map((sum) => sum / tokenCount),
      };
    },
  };
}

/** The real tokens' rows, one after another: [tokens, width]. */
function realTokens(values: Tensor<Float32Array>, lengths: Int32Array, width: number): Matrix<Float32Array> {
  const data = contiguousData(values);
  const sequence = values.shape[1];
  const count = lengths.reduce((sum, length) => sum + length, 0);
  if (count === lengths.length * sequence) return tensor(data, [count, width]);
  const out = new Float32Array(count * width);
  let to = 0;
  lengths.forEach((length, row) => {
    const start = row * sequence * width;
    out.set(data.subarray(start, start + length * width), to);
    to += length * width;
  });
  return tensor(out, [count, width]);
}
