import {
  type CalibrationStatistics,
  contiguousData,
  type Matrix,
  type Role,
  type RunContext,
  type StatisticsKind,
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
 * Accumulates what is asked for of what calibration says about one input. Products are float32 within a batch, sums over batches float64: rounding stays four
 * orders of magnitude below the damping that every user of the Gram matrix adds.
 */
export function statisticsAccumulator(width: number, kinds: ReadonlySet<StatisticsKind>) {
  const gram = kinds.has("gram") ? zeros([width, width], "float64") : undefined;
  const absoluteMaximum = kinds.has("absoluteMaximum") ? new Float64Array(width) : undefined;
  const absoluteSum = kinds.has("absoluteMean") ? new Float64Array(width) : undefined;
  const squareSum = kinds.has("squareMean") ? new Float64Array(width) : undefined;
  let tokenCount = 0;
  return {
    /**
     * @param values - [batch, sequence, width]
     * @param lengths - real tokens of each row; the rest is left out
     */
    async add(values: Tensor<Float32Array>, lengths: Int32Array, ctx: RunContext): Promise<void> {
      const tokens = realTokens(values, lengths, width);
      if (gram) await addGram(gram, tokens, ctx);
      if (absoluteMaximum) raiseToMagnitudes(absoluteMaximum, tokens.data);
      if (absoluteSum) addMagnitudes(absoluteSum, tokens.data);
      if (squareSum) addSquares(squareSum, tokens.data);
      tokenCount += tokens.shape[0];
    },
    finish(): CalibrationStatistics {
      return {
        tokenCount,
        ...(gram && { gram }),
        ...(absoluteMaximum && { absoluteMaximum }),
        ...(absoluteSum && { absoluteMean: absoluteSum.map((sum) => sum / tokenCount) }),
        ...(squareSum && { squareMean: squareSum.map((sum) => sum / tokenCount) }),
      };
    },
  };
}

/** largest[j] = max(largest[j], |rows[i, j]|). */
function raiseToMagnitudes(largest: Float64Array, rows: Float32Array): void {
  for (let i = 0; i < rows.length; ) {
    for (let j = 0; j < largest.length; j++, i++) {
      const magnitude = Math.abs(rows[i]);
      if (magnitude > largest[j]) largest[j] = magnitude;
    }
  }
}

/** sum[j] += Σ_i |rows[i, j]|. */
function addMagnitudes(sum: Float64Array, rows: Float32Array): void {
  for (let i = 0; i < rows.length; ) {
    for (let j = 0; j < sum.length; j++, i++) sum[j] += Math.abs(rows[i]);
  }
}

/** sum[j] += Σ_i rows[i, j]². */
function addSquares(sum: Float64Array, rows: Float32Array): void {
  for (let i = 0; i < rows.length; ) {
    for (let j = 0; j < sum.length; j++, i++) sum[j] += rows[i] * rows[i];
  }
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
