import type { MetricValue } from "./metrics.js";

/** A way to sum documents' figures up that hangs on sums over them alone. */
export interface SummableAggregation {
  /** What of a document goes into each sum. */
  columns(value: MetricValue): readonly number[];
  /** From the sums, and how many documents there are. */
  figure(sums: Float64Array, count: number): number;
}

const single = (value: MetricValue) => [value as number];
const pair = (value: MetricValue) => value as readonly [number, number];

/** By the harness's names; the median is no such way. */
export const summableAggregations: Readonly<Record<string, SummableAggregation>> = {
  mean: { columns: single, figure: ([sum], count) => sum / count },
  nanmean: {
    columns: (value) => (Number.isNaN(value as number) ? [0, 0] : [value as number, 1]),
    figure: ([sum, known]) => sum / known,
  },
  perplexity: { columns: single, figure: ([sum], count) => Math.exp(-(sum / count)) },
  weighted_perplexity: { columns: pair, figure: ([sum, weight]) => Math.exp(-(sum / weight)) },
  bits_per_byte: { columns: pair, figure: ([sum, bytes]) => -(sum / bytes) / Math.log(2) },
  brier_score: {
    columns(value) {
      const [right, shares] = value as readonly [number, readonly number[]];
      return [shares.reduce((sum, share, i) => sum + (share - Number(i === right)) ** 2, 0)];
    },
    figure: ([sum], count) => sum / count,
  },
};
