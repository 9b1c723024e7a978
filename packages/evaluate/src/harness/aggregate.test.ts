import { expect, it } from "vitest";
import { aggregate, aggregateGroup } from "./aggregate.js";

// lm_eval.api.metrics of 0.4.13: mean_stderr, weighted_perplexity, bits_per_byte, pooled_sample_stderr, unweighted_mean_stderr.
it("means have the standard error of a sample", () => {
  expect(aggregate("mean", [1, 0, 1, 1])).toEqual({ value: 0.75, stderr: 0.25 });
  expect(aggregate("mean", [1])).toEqual({ value: 1, stderr: null });
  expect(aggregate("median", [3, 1, 2, 9]).value).toBe(3);
  expect(() => aggregate("mean", [])).toThrow(expect.objectContaining({ code: "METRIC_EMPTY" }));
});

it("perplexities weigh documents by their words or bytes", () => {
  const pages = [
    [-10, 4],
    [-2, 2],
  ] as const;
  expect(aggregate("weighted_perplexity", pages)).toEqual({ value: Math.exp(2), stderr: null });
  expect(aggregate("bits_per_byte", pages).value).toBeCloseTo(2 / Math.log(2), 12);
  // exp of a mean: bootstrap with Python's draws; the delta method says 0.18 for these.
  const { value, stderr } = aggregate("perplexity", [-1, -1.2, -0.8, -1.1, -0.9, -1, -1.3, -0.7], 2000);
  expect(value).toBeCloseTo(Math.E, 12);
  expect(Math.abs(stderr! - 0.18)).toBeLessThan(0.02);
});

it("groups pool the errors of their tasks by size, or weigh all alike", () => {
  const parts = [
    { value: 0.5, stderr: 0.1, size: 20 },
    { value: 0.8, stderr: 0.2, size: 5 },
  ];
  expect(aggregateGroup(parts, true).value).toBeCloseTo(0.56, 12);
  const pooled = (19 * 0.01 * 20 + 4 * 0.04 * 5) / 23;
  expect(aggregateGroup(parts, true).stderr).toBeCloseTo(Math.sqrt(pooled / 25), 12);
  const alike = aggregateGroup(parts, false);
  expect(alike.value).toBeCloseTo(0.65, 12);
  expect(alike.stderr).toBeCloseTo(Math.sqrt(0.05) / 2, 12);
  expect(aggregateGroup([{ value: 1, stderr: null, size: 1 }], true).stderr).toBeNull();
});
