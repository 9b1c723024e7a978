import { readFileSync } from "node:fs";
import { seededRng } from "@layerfold/linalg";
import { expect, it } from "vitest";
import { compareFigure } from "./compare-figure.js";

// numpy, by tools/comparison_golden.py.
const { perplexities: golden } = JSON.parse(
  readFileSync(new URL("../../test/golden/comparison.json", import.meta.url), "utf8"),
);
const rng = () => seededRng(5);
const acc = (first: number[], second: number[]) => ({ aggregation: "mean", first, second });

it("gives numpy's perplexities, and its percentile intervals within the bootstrap's noise", () => {
  const values = (sums: number[]) => sums.map((sum, i) => [sum, golden.words[i]] as const);
  const found = compareFigure(
    [{ aggregation: "weighted_perplexity", first: values(golden.first), second: values(golden.second) }],
    rng(),
  );
  expect([found.first, found.second]).toEqual(golden.figures.map((x: number) => expect.closeTo(x, 10)));
  for (const name of ["difference", "ratio"] as const) {
    const { value, low, high } = found[name];
    const [wantedLow, wantedHigh] = golden[name];
    // 10,000 draws know the ends to about 1.5 % of the half width.
    const noise = 0.05 * (wantedHigh - wantedLow);
    expect(Math.abs(low! - wantedLow)).toBeLessThan(noise);
    expect(Math.abs(high! - wantedHigh)).toBeLessThan(noise);
    expect(low!).toBeLessThan(value);
    expect(high!).toBeGreaterThan(value);
  }
  expect(found.method).toBe("bootstrap");
  expect(found.answers).toBeUndefined();
});

it("is the other way round what it is this way round", () => {
  const random = seededRng(2);
  const draw = () => Array.from({ length: 25 }, () => -random.uniform() * 4);
  const [first, second] = [draw(), draw()];
  const task = { aggregation: "perplexity", first, second };
  const one = compareFigure([task], rng(), { draws: 500 });
  const other = compareFigure([{ ...task, first: second, second: first }], rng(), { draws: 500 });
  expect(other.difference).toEqual({
    value: -one.difference.value,
    low: -one.difference.high!,
    high: -one.difference.low!,
  });
  expect(other.ratio.low).toBeCloseTo(1 / one.ratio.high!, 12);
});

it("finds no difference between a model and itself", () => {
  const values = [-1, -2, -0.5];
  const { difference, ratio } = compareFigure(
    [{ aggregation: "perplexity", first: values, second: values }],
    rng(),
  );
  expect([difference, ratio]).toEqual([
    { value: 0, low: 0, high: 0 },
    { value: 1, low: 1, high: 1 },
  ]);
  expect(compareFigure([acc([1, 0], [1, 0])], rng()).answers?.p_value).toBe(1);
});

it("covers a true difference of means as often as it says", () => {
  const random = seededRng(21);
  const [runs, n] = [400, 50];
  let covered = 0;
  for (let run = 0; run < runs; run++) {
    const first = Array.from({ length: n }, () => 3 * random.normal());
    const second = first.map((value) => value + 0.5 + random.normal());
    const { difference } = compareFigure([acc(first, second)], random, { draws: 400 });
    if (difference.low! <= 0.5 && 0.5 <= difference.high!) covered++;
  }
  // Percentile intervals of 50 documents are a little narrow.
  expect(covered / runs).toBeGreaterThan(0.91);
  expect(covered / runs).toBeLessThan(0.98);
});

it("weighs a group's tasks by their documents, or all alike, and draws within each", () => {
  const small = acc([1, 1], [0, 0]);
  const large = acc([0, 0, 0, 1, 1, 1], [1, 0, 0, 1, 1, 1]);
  const pooled = compareFigure([small, large], rng());
  expect(pooled).toMatchObject({
    documents: 8,
    first: 5 / 8,
    second: 0.5,
    method: "newcombe",
    answers: { both: 3, lost: 2, gained: 1, neither: 2, p_value: 1 },
  });
  const alike = compareFigure([small, large], rng(), { weightBySize: false });
  expect(alike).toMatchObject({ first: 0.75, second: 1 / 3, method: "bootstrap" });
  // In the small task every draw is the same: what moves is the large one's, by sixths of which half counts.
  expect(alike.difference.low).toBeCloseTo(-0.5, 12);
  expect(alike.difference.high).toBeGreaterThan(-0.42);
});

it("has figures without intervals where they are medians or not finite", () => {
  const broken = compareFigure(
    [{ aggregation: "perplexity", first: [-1, -2], second: [-1, Number.NEGATIVE_INFINITY] }],
    rng(),
  );
  expect(broken).toMatchObject({
    second: Number.POSITIVE_INFINITY,
    method: null,
    ratio: { value: Number.POSITIVE_INFINITY, low: null },
  });
  expect(
    compareFigure([{ aggregation: "median", first: [1, 2, 9], second: [1, 3, 9] }], rng()),
  ).toMatchObject({
    difference: { value: 1, low: null, high: null },
    method: null,
  });
});

it("refuses other documents", () => {
  for (const task of [acc([], []), acc([1], [1, 0])]) {
    expect(() => compareFigure([task], rng())).toThrow(expect.objectContaining({ code: "DOCUMENTS_DIFFER" }));
  }
});
