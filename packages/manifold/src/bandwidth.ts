import { LayerfoldError } from "@layerfold/core";
import { median } from "@layerfold/linalg";
import { type KernelName, kernels } from "./kernel.js";

/** How a single bandwidth for all points is found. */
export type BandwidthRule = "median" | "neighbor" | "max-slope";

/** What a rule may look at. */
export interface DistanceSample {
  /** Squared distances of pairs of different points, each pair once. */
  readonly pairs: Float64Array;
  /** Of every point the squared distance to its `neighborCount`-th neighbour. */
  readonly neighbors: () => Float64Array;
  /** Points; their zero distance to themselves takes part in the sum of affinities. */
  readonly size: number;
}

/**
 * The bandwidth by a rule: σ (a distance) for `mka`, ε (a squared distance) for `gaussian`.
 *
 * - `median`: the median distance of the pairs.
 * - `neighbor`: the median distance to the `neighborCount`-th neighbour.
 * - `max-slope`: where log Σᵢⱼ K rises fastest with the logarithm of the bandwidth (Coifman, Shkolnisky, Sigworth & Singer 2008; Berry &
 *   Harlim 2016).
 *
 * @throws BANDWIDTH_ZERO when more than half of what the rule looks at is duplicates
 */
export function bandwidthByRule(rule: BandwidthRule, kernel: KernelName, sample: DistanceSample): number {
  const squared =
    rule === "max-slope"
      ? maximumSlope(sample, kernel)
      : median(rule === "median" ? sample.pairs : sample.neighbors());
  if (!(squared > 0)) {
    throw new LayerfoldError("BANDWIDTH_ZERO", `the ${rule} distance is 0: most points are duplicates`, {
      wanted: "a bandwidth given as a number",
      where: "option bandwidth",
    });
  }
  return kernel === "mka" ? Math.sqrt(squared) : squared;
}

/** Width of a bin in the logarithm of the squared distance, and steps of the bandwidth (a factor 2^¼). */
const logBin = 0.02;
const logStep = Math.LN2 / 4;

/** The squared distance at which a bandwidth of that size gives the sum of affinities its steepest rise, on a log–log scale. */
function maximumSlope(sample: DistanceSample, kernel: KernelName): number {
  const weight = kernels[kernel];
  let smallest = Number.POSITIVE_INFINITY;
  let largest = 0;
  let zeros = 0;
  for (const squared of sample.pairs) {
    if (squared === 0) zeros++;
    else if (squared < smallest) smallest = squared;
    if (squared > largest) largest = squared;
  }
  if (largest === 0) return 0;
  // A histogram over log D² makes each bandwidth cost bins instead of pairs.
  const low = Math.log(smallest);
  const counts = new Float64Array(Math.floor((Math.log(largest) - low) / logBin) + 1);
  for (const squared of sample.pairs)
    if (squared > 0) counts[Math.floor((Math.log(squared) - low) / logBin)]++;
  const logSum = (logScale: number) => {
    const scale = kernel === "mka" ? Math.exp(logScale / 2) : Math.exp(logScale);
    let sum = 0;
    for (let b = 0; b < counts.length; b++) {
      if (counts[b] > 0) sum += counts[b] * weight(Math.exp(low + (b + 0.5) * logBin), scale);
    }
    return Math.log(sample.size + 2 * (zeros + sum));
  };
  let best = 0;
  let bestSlope = Number.NEGATIVE_INFINITY;
  let before = logSum(low - logStep);
  for (let logScale = low; logScale <= Math.log(largest) + logStep; logScale += logStep) {
    const now = logSum(logScale);
    if (now - before > bestSlope) {
      bestSlope = now - before;
      best = logScale - logStep / 2;
    }
    before = now;
  }
  return Math.exp(best);
}
