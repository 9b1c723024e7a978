import { LayerfoldError } from "@layerfold/core";
import type { MetricValue } from "./metrics.js";
import { pythonRandom } from "./python-random.js";
import { summableAggregations } from "./summable.js";

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
  if (name === "median") {
    const numbers = values as readonly number[];
    return { value: [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)], stderr: null };
  }
  const { columns, figure } = summableAggregations[name];
  const value = figure(columnSums(values.map(columns)), values.length);
  return { value, stderr: stderrOf(name, values, iterations) };
}

function columnSums(rows: readonly (readonly number[])[]): Float64Array {
  const sums = new Float64Array(rows[0].length);
  for (const row of rows) for (let column = 0; column < row.length; column++) sums[column] += row[column];
  return sums;
}

/** The harness's; null for an aggregation that it has none for. */
function stderrOf(name: string, values: readonly MetricValue[], iterations: number): number | null {
  const numbers = values as readonly number[];
  if (name === "perplexity") return bootstrapped(numbers, (m) => Math.exp(-m), iterations);
  if (name !== "mean" && name !== "nanmean") return null;
  const known = name === "nanmean" ? numbers.filter((value) => !Number.isNaN(value)) : numbers;
  return known.length > 1 ? deviation(known) / Math.sqrt(known.length) : null;
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
