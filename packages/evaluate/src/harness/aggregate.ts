import { LayerfoldError } from "@layerfold/core";
import type { MetricValue } from "./metrics.js";
import { pythonRandom } from "./python-random.js";

/** A figure over documents and its standard error; null where there is none. */
export interface Aggregate {
  readonly value: number;
  readonly stderr: number | null;
}

/** How often the harness draws anew for the standard error of a perplexity. */
export const bootstrapIterations = 100_000;

/**
 * Sums documents' figures up as the harness does: means with s / √n, perplexities with a bootstrap whose draws are those of Python by the same seeds.
 * @param iterations - of the bootstrap; the harness's by default
 * @throws METRIC_EMPTY
 */
export function aggregate(
  name: string,
  values: readonly MetricValue[],
  iterations = bootstrapIterations,
): Aggregate {
  if (values.length === 0)
    throw new LayerfoldError("METRIC_EMPTY", "a figure has no document", { where: name });
  if (name === "weighted_perplexity" || name === "bits_per_byte") {
    const pairs = values as readonly (readonly [number, number])[];
    const ratio = sum(pairs.map(([value]) => value)) / sum(pairs.map(([, weight]) => weight));
    return { value: name === "bits_per_byte" ? -ratio / Math.log(2) : Math.exp(-ratio), stderr: null };
  }
  if (name === "brier_score") {
    const pairs = values as readonly (readonly [number, readonly number[]])[];
    const squares = pairs.map(([right, shares]) =>
      sum(shares.map((share, i) => (share - Number(i === right)) ** 2)),
    );
    return { value: mean(squares), stderr: null };
  }
  const numbers = values as readonly number[];
  if (name === "perplexity") {
    return {
      value: Math.exp(-mean(numbers)),
      stderr: bootstrapped(numbers, (m) => Math.exp(-m), iterations),
    };
  }
  if (name === "median") {
    return { value: [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)], stderr: null };
  }
  const known = name === "nanmean" ? numbers.filter((value) => !Number.isNaN(value)) : numbers;
  return {
    value: mean(known),
    stderr: known.length > 1 ? deviation(known) / Math.sqrt(known.length) : null,
  };
}

/** Standard error of a function of the mean. */
function bootstrapped(
  values: readonly number[],
  of: (mean: number) => number,
  iterations: number,
): number | null {
  if (values.length < 2 || iterations < 2) return null;
  const each = Math.min(1000, iterations);
  const drawn: number[] = [];
  for (let chunk = 0; chunk < Math.floor(iterations / each); chunk++) {
    const random = pythonRandom(chunk);
    for (let i = 0; i < each; i++) {
      let total = 0;
      for (let k = 0; k < values.length; k++) total += values[Math.floor(random.random() * values.length)];
      drawn.push(of(total / values.length));
    }
  }
  return deviation(drawn);
}

/** How a group's tasks are weighed: by their documents, or all alike. */
export interface GroupPart extends Aggregate {
  readonly size: number;
}

/** A group's figure from its tasks': the mean, and its standard error from theirs. */
export function aggregateGroup(parts: readonly GroupPart[], weightBySize: boolean): Aggregate {
  const sizes = parts.map(({ size }) => (weightBySize ? size : 1));
  const value = sum(parts.map((part, i) => part.value * sizes[i])) / sum(sizes);
  if (parts.some(({ stderr }) => stderr === null)) return { value, stderr: null };
  const errors = parts.map(({ stderr }) => stderr ?? 0);
  if (!weightBySize)
    return { value, stderr: Math.sqrt(sum(errors.map((error) => error ** 2))) / parts.length };
  const all = sum(sizes);
  const pooled = sum(errors.map((error, i) => (sizes[i] - 1) * error ** 2 * sizes[i])) / (all - sizes.length);
  const stderr = Math.sqrt(pooled / all);
  return { value, stderr: Number.isFinite(stderr) ? stderr : null };
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}

/** Of a sample. */
function deviation(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(sum(values.map((value) => (value - middle) ** 2)) / (values.length - 1));
}
