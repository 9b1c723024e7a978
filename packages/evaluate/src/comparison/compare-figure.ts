import { LayerfoldError, type Rng } from "@layerfold/core";
import { aggregate } from "../harness/aggregate.js";
import type { MetricValue } from "../harness/metrics.js";
import { type SummableAggregation, summableAggregations } from "../harness/summable.js";
import { bootstrapDraws, bootstrapIntervals } from "./bootstrap.js";
import type { Interval } from "./interval.js";
import { countPairs, mcnemarExact, newcombeDifference, type PairedAnswers } from "./paired-proportions.js";

/** What two models got for the same documents of a task. */
export interface PairedDocuments {
  /** How documents are summed up, by the harness's name. */
  readonly aggregation: string;
  /** [documents] */
  readonly first: readonly MetricValue[];
  /** [documents] */
  readonly second: readonly MetricValue[];
}

/** A figure of two models on the same documents. */
export interface PairedFigure {
  readonly documents: number;
  readonly first: number;
  readonly second: number;
  /** second − first. */
  readonly difference: Interval;
  /** second ÷ first; no interval where the difference's is Newcombe's. */
  readonly ratio: Interval;
  /** What the intervals are; null: the figure is a median or not finite, and has none. */
  readonly method: "newcombe" | "bootstrap" | null;
  /** Of figures of 0 or 1 alone: how the two answered, and McNemar's exact two-sided p-value. */
  readonly answers?: PairedAnswers & { readonly p_value: number };
}

export interface CompareFigureOptions {
  /** Of several tasks: weighed by their documents (default), or all alike. */
  readonly weightBySize?: boolean | undefined;
  /** Of the bootstrap; default 10,000. */
  readonly draws?: number | undefined;
}

/**
 * Compares a figure of two models, document by document, so that what makes one document harder than another cancels out. Shares of right answers have
 * McNemar's exact test and Newcombe's interval, all else a paired bootstrap over documents, of a group within each of its tasks.
 *
 * @param tasks - one, or those of a group
 * @throws DOCUMENTS_DIFFER where a task has none, or other many of one model than of the other
 */
export function compareFigure(
  tasks: readonly PairedDocuments[],
  rng: Rng,
  { weightBySize = true, draws = bootstrapDraws }: CompareFigureOptions = {},
): PairedFigure {
  for (const { first, second } of tasks) {
    if (first.length > 0 && first.length === second.length) continue;
    throw new LayerfoldError("DOCUMENTS_DIFFER", "a figure is compared on the same documents", {
      wanted: "at least one, as many of the one as of the other",
      got: `${first.length} and ${second.length}`,
    });
  }
  const documents = tasks.reduce((sum, { first }) => sum + first.length, 0);
  const weights = tasks.map(({ first }) => (weightBySize ? first.length / documents : 1 / tasks.length));
  const mean = (values: readonly number[]) => values.reduce((sum, value, i) => sum + weights[i] * value, 0);
  const whole = (side: "first" | "second") =>
    mean(tasks.map((task) => aggregate(task.aggregation, task[side], 0).value));
  const [first, second] = [whole("first"), whole("second")];
  const without = (value: number): Interval => ({ value, low: null, high: null });
  const bare = { documents, first, second };
  const points = { difference: without(second - first), ratio: without(second / first), method: null };

  if (weightBySize && tasks.every(isShare)) {
    const all = (side: "first" | "second") => tasks.flatMap((task) => task[side] as readonly number[]);
    const answers = countPairs(all("first"), all("second"));
    return {
      ...bare,
      difference: newcombeDifference(answers),
      ratio: points.ratio,
      method: "newcombe",
      answers: { ...answers, p_value: mcnemarExact(answers) },
    };
  }
  const ways = tasks.map(
    ({ aggregation }) => summableAggregations[aggregation] as SummableAggregation | undefined,
  );
  if (!Number.isFinite(second - first) || ways.includes(undefined)) return { ...bare, ...points };
  const summed = ways as readonly SummableAggregation[];
  const widths = tasks.map((task, i) => summed[i].columns(task.first[0]).length);
  const strata = tasks.map((task, i) => [
    ...columnsOf(task.first, summed[i], widths[i]),
    ...columnsOf(task.second, summed[i], widths[i]),
  ]);
  const [difference, ratio] = bootstrapIntervals(
    strata,
    (sums) => {
      const side = (from: (width: number) => number) =>
        mean(
          sums.map((all, i) =>
            summed[i].figure(
              all.subarray(from(widths[i]), from(widths[i]) + widths[i]),
              tasks[i].first.length,
            ),
          ),
        );
      const [a, b] = [side(() => 0), side((width) => width)];
      return [b - a, b / a];
    },
    rng,
    draws,
  );
  const within = (value: number, ends: readonly [number, number] | null): Interval => ({
    value,
    low: ends?.[0] ?? null,
    high: ends?.[1] ?? null,
  });
  return {
    ...bare,
    difference: within(second - first, difference),
    ratio: within(second / first, ratio),
    method: "bootstrap",
  };
}

function isShare({ aggregation, first, second }: PairedDocuments): boolean {
  const binary = (value: MetricValue) => value === 0 || value === 1;
  return aggregation === "mean" && first.every(binary) && second.every(binary);
}

/** [columns][documents] */
function columnsOf(
  values: readonly MetricValue[],
  { columns }: SummableAggregation,
  width: number,
): Float64Array[] {
  const rows = values.map(columns);
  return Array.from({ length: width }, (_, c) => Float64Array.from(rows, (row) => row[c]));
}
