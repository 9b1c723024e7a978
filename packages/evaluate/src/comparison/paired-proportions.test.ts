import { readFileSync } from "node:fs";
import { seededRng } from "@layerfold/linalg";
import { assert, integer, property, record } from "fast-check";
import { expect, it } from "vitest";
import { countPairs, mcnemarExact, newcombeDifference } from "./paired-proportions.js";

// scipy and statsmodels, by tools/comparison_golden.py.
const golden: {
  answers: ({ p_value: number; value: number; low: number; high: number } & Parameters<
    typeof newcombeDifference
  >[0])[];
} = JSON.parse(readFileSync(new URL("../../test/golden/comparison.json", import.meta.url), "utf8"));

it("gives the p-values and intervals of scipy and statsmodels", () => {
  expect(golden.answers.length).toBeGreaterThan(8);
  for (const { p_value, value, low, high, ...answers } of golden.answers) {
    expect(mcnemarExact(answers) / p_value).toBeCloseTo(1, 9);
    const found = newcombeDifference(answers);
    expect([found.value, found.low, found.high]).toEqual(
      [value, low, high].map((x) => expect.closeTo(x, 12)),
    );
  }
});

const answers = record({
  both: integer({ min: 0, max: 40 }),
  lost: integer({ min: 0, max: 40 }),
  gained: integer({ min: 0, max: 40 }),
  neither: integer({ min: 1, max: 40 }),
});

it("says the same, with the other sign, of the models the other way round", () => {
  assert(
    property(answers, (given) => {
      const turned = { ...given, lost: given.gained, gained: given.lost };
      expect(mcnemarExact(turned)).toBe(mcnemarExact(given));
      const [one, other] = [newcombeDifference(given), newcombeDifference(turned)];
      expect(other.value).toBeCloseTo(-one.value, 12);
      expect(other.low).toBeCloseTo(-one.high!, 12);
      expect(other.high).toBeCloseTo(-one.low!, 12);
    }),
  );
});

it("stays within −1 and 1, holds its value, and p is a probability", () => {
  assert(
    property(answers, (given) => {
      const { value, low, high } = newcombeDifference(given);
      expect(low!).toBeGreaterThanOrEqual(-1 - 1e-12);
      expect(high!).toBeLessThanOrEqual(1 + 1e-12);
      expect(low!).toBeLessThanOrEqual(value + 1e-12);
      expect(high!).toBeGreaterThanOrEqual(value - 1e-12);
      const p = mcnemarExact(given);
      expect(p).toBeGreaterThan(0);
      expect(p).toBeLessThanOrEqual(1);
    }),
  );
});

it("covers the true difference as often as it says, and cries wolf no more often", () => {
  const rng = seededRng(11);
  const [runs, n] = [2000, 60];
  let covered = 0;
  let alarms = 0;
  for (let run = 0; run < runs; run++) {
    // The second is right where the first is with 0.85, else with 0.1: 0.7 against 0.625.
    const first = Array.from({ length: n }, () => Number(rng.uniform() < 0.7));
    const second = first.map((right) => Number(rng.uniform() < (right ? 0.85 : 0.1)));
    const { low, high } = newcombeDifference(countPairs(first, second));
    if (low! <= -0.075 && -0.075 <= high!) covered++;
    const equal = first.map((right) => Number(rng.uniform() < (right ? 0.85 : 0.35)));
    if (mcnemarExact(countPairs(first, equal)) < 0.05) alarms++;
  }
  expect(covered / runs).toBeGreaterThan(0.935);
  expect(covered / runs).toBeLessThan(0.975);
  expect(alarms / runs).toBeLessThan(0.055);
  expect(alarms / runs).toBeGreaterThan(0.005);
});
