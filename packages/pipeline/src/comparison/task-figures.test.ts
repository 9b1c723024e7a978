import type { ReportEvent } from "@layerfold/core";
import { findTask } from "@layerfold/evaluate";
import { seededRng } from "@layerfold/linalg";
import { expect, it } from "vitest";
import type { ComparedEvaluation } from "./stored-evaluation.js";
import { compareTasks, expectedFigures } from "./task-figures.js";

const sample = (doc_id: number, metrics: Readonly<Record<string, unknown>>, filter = "none") => ({
  doc_id,
  filter,
  metrics: Object.keys(metrics),
  doc_hash: `d${doc_id}`,
  prompt_hash: "p",
  target_hash: "t",
  ...metrics,
});
const accuracies = (values: readonly number[]) => values.map((acc, i) => sample(i, { acc }));
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Tasks `a` and `b` under the groups `inner` (their documents weighed) and `all` (that and `c`, tasks all alike). */
function grouped(a: readonly number[], b: readonly number[], c: readonly number[]): ComparedEvaluation {
  const figure = (value: number) => ({ "acc,none": value, "acc_stderr,none": 0.1 });
  return {
    where: "somewhere",
    results: {
      results: {
        all: figure(mean([mean(a), mean(b), mean(c)])),
        inner: figure(mean([...a, ...b])),
        a: figure(mean(a)),
        b: figure(mean(b)),
        c: figure(mean(c)),
      },
      group_subtasks: { all: ["inner", "c"], inner: ["a", "b"] },
      configs: { a: {}, b: { metric_list: null }, c: { metric_list: [{ metric: "acc" }] } },
      "n-shot": {},
      higher_is_better: {},
    },
    samples: new Map([
      ["a", accuracies(a)],
      ["b", accuracies(b)],
      ["c", accuracies(c)],
    ]),
  };
}

const context = () => {
  const events: ReportEvent[] = [];
  return { events, ctx: { rng: seededRng(0), report: (event: ReportEvent) => void events.push(event) } };
};

it("compares groups by their tasks' documents, weighed as their figure is", () => {
  const first = grouped([1, 0], [1, 1, 1, 1], [0, 0, 1]);
  const other = grouped([1, 1], [1, 1, 0, 0], [1, 0, 0]);
  const figures = compareTasks(first, other, undefined, context().ctx);
  expect(figures.map(({ figure, count }) => [figure, count])).toEqual([
    ["acc(all)", 9],
    ["acc(inner)", 6],
    ["acc(a)", 2],
    ["acc(b)", 4],
    ["acc(c)", 3],
  ]);
  const [all, inner] = figures;
  expect(inner).toMatchObject({ first: expect.closeTo(5 / 6, 12), higher_is_better: true });
  expect(inner.others[0]).toMatchObject({
    value: expect.closeTo(4 / 6, 12),
    method: "newcombe",
    answers: { both: 3, lost: 2, gained: 1, neither: 0 },
  });
  expect(all.first).toBeCloseTo((1 / 2 + 1 + 1 / 3) / 3, 12);
  expect(all.others[0]).toMatchObject({
    method: "bootstrap",
    value: expect.closeTo((1 + 1 / 2 + 1 / 3) / 3, 12),
  });
  // Parts of the same, asked for by name.
  const named = compareTasks(first, other, ["inner"], context().ctx);
  expect(named).toEqual(figures.slice(1, 4));
});

it("says what it leaves out: a group's figure that is no mean, and sums that are not known here", () => {
  const first = grouped([1, 0], [1, 1], [0]);
  const { results, configs } = first.results;
  const own: ComparedEvaluation = {
    ...first,
    results: {
      ...first.results,
      results: { ...results, inner: { "acc,none": 0.1 } },
      configs: { ...configs, c: { metric_list: [{ metric: "acc", aggregation: "def mine(items): ..." }] } },
    },
  };
  const { ctx, events } = context();
  const found = compareTasks(own, own, ["inner", "c"], ctx);
  expect(found.map(({ figure }) => figure)).toEqual(["acc(a)", "acc(b)"]);
  expect(events).toMatchObject([
    { code: "FIGURE_SKIPPED", message: expect.stringContaining("c, acc,none") },
    { code: "FIGURE_SKIPPED", message: expect.stringContaining("inner, acc,none") },
  ]);
});

it("takes what JSON has no number for as impossible text", () => {
  const evaluation = (values: readonly (number | null)[], stated: number | null): ComparedEvaluation => ({
    where: "somewhere",
    results: {
      results: { words: { "perplexity,none": stated } },
      group_subtasks: {},
      configs: { words: {} },
      "n-shot": {},
      higher_is_better: {},
    },
    samples: new Map([["words", values.map((perplexity, i) => sample(i, { perplexity }))]]),
  });
  const fine = evaluation([-1, -3], Math.exp(2));
  const [figure] = compareTasks(fine, evaluation([-1, null], null), undefined, context().ctx);
  expect(figure).toMatchObject({ first: Math.exp(2), higher_is_better: false });
  expect(figure.others[0]).toMatchObject({ value: Number.POSITIVE_INFINITY, method: null });
  expect(() => compareTasks(fine, evaluation([-1, -3], 2), undefined, context().ctx)).toThrow(
    expect.objectContaining({ code: "RESULTS_INCONSISTENT" }),
  );
});

it("knows before anything is measured what figures there will be", async () => {
  const nodes = await Promise.all(["mmlu", "gsm8k", "lambada", "wikitext"].map(findTask));
  const names = expectedFigures(nodes);
  expect(names.slice(0, 2)).toEqual(expect.arrayContaining([expect.stringMatching(/^acc\(mmlu/)]));
  for (const name of [
    "acc(mmlu)",
    "acc(mmlu_stem)",
    "acc(mmlu_anatomy)",
    "exact_match(gsm8k,strict-match)",
    "perplexity(lambada)",
    "bits_per_byte(wikitext)",
  ]) {
    expect(names).toContain(name);
  }
});
