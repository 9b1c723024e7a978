/** A figure with its 95 % confidence interval; null: there is none. */
export interface Interval {
  readonly value: number;
  readonly low: number | null;
  readonly high: number | null;
}
