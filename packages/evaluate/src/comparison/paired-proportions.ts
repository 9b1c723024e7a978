import type { Interval } from "./interval.js";

/** How two models answered the same questions. */
export interface PairedAnswers {
  /** Right by both. */
  readonly both: number;
  /** Right by the first alone. */
  readonly lost: number;
  /** Right by the second alone. */
  readonly gained: number;
  /** Wrong by both. */
  readonly neither: number;
}

/** @param first - [documents] 0 or 1 @param second - [documents] */
export function countPairs(first: ArrayLike<number>, second: ArrayLike<number>): PairedAnswers {
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < first.length; i++) counts[2 * first[i] + second[i]]++;
  const [neither, gained, lost, both] = counts;
  return { both, lost, gained, neither };
}

/**
 * McNemar's exact test (1947): how probable so uneven a split of the questions that one model alone answered rightly, or a more uneven one, would be
 * if either were as likely as the other. Two-sided, binomial; 1 where there is no such question. O(min(lost, gained)).
 */
export function mcnemarExact({ lost, gained }: Pick<PairedAnswers, "lost" | "gained">): number {
  const n = lost + gained;
  const fewer = Math.min(lost, gained);
  let logTerm = -n * Math.LN2;
  for (let k = 1; k <= fewer; k++) logTerm += Math.log((n - k + 1) / k);
  let tail = 0;
  // From the largest term down, each by what it is of the one before.
  for (let k = fewer, share = 1; k >= 0 && share > 0; share *= k / (n - k + 1), k--) tail += share;
  return Math.min(1, 2 * tail * Math.exp(logTerm));
}

/** 97.5 % quantile of the normal distribution. */
const z = 1.959963984540054;

/** Wilson's (1927) 95 % interval of a share. */
function wilson(successes: number, n: number): readonly [low: number, high: number] {
  const share = successes / n;
  const middle = share + (z * z) / (2 * n);
  const half = z * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return [(middle - half) / scale, (middle + half) / scale];
}

/**
 * How much more often the second is right, as a share of all questions, with Newcombe's 95 % interval for paired proportions (1998, Statistics in
 * Medicine 17:2635, method 10): Wilson's intervals put together by the answers' correlation, corrected for continuity. Never beyond −1 and 1.
 */
export function newcombeDifference({ both, lost, gained, neither }: PairedAnswers): Interval {
  const n = both + lost + gained + neither;
  const [first, second] = [(both + lost) / n, (both + gained) / n];
  const [low1, high1] = wilson(both + lost, n);
  const [low2, high2] = wilson(both + gained, n);
  const spread = Math.sqrt((both + lost) * (gained + neither) * (both + gained) * (lost + neither));
  const product = both * neither - lost * gained;
  const corrected = product > 0 ? Math.max(product - n / 2, 0) : product;
  const correlation = spread === 0 ? 0 : corrected / spread;
  const joint = (a: number, b: number) => Math.sqrt(Math.max(0, a * a - 2 * correlation * a * b + b * b));
  const value = second - first;
  return {
    value,
    low: value - joint(second - low2, high1 - first),
    high: value + joint(high2 - second, first - low1),
  };
}
