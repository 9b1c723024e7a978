import { seededRng } from "@layerfold/linalg";
import { expect, it } from "vitest";
import { pairedDifference } from "./paired-difference.js";

const windows = (count: number, make: (i: number) => number) =>
  Float64Array.from({ length: count }, (_, i) => make(i));

it("is exact where every token differs alike, whatever the windows' own losses", () => {
  const rng = seededRng(1);
  const tokens = windows(30, () => 10 + rng.integer(500));
  const b = windows(30, (i) => 3 * tokens[i] * rng.uniform());
  const a = windows(30, (i) => b[i] - 0.25 * tokens[i]);
  const { difference, low, high } = pairedDifference(a, b, tokens, seededRng(2));
  for (const value of [difference, low, high]) expect(value).toBeCloseTo(-0.25, 12);
});

it("has the normal interval, mean ± 1.96 s / √n, where there are many equal windows", () => {
  const count = 400;
  const rng = seededRng(3);
  const b = windows(count, () => 100 * rng.uniform());
  const noise = windows(count, () => 2 + 5 * rng.normal());
  const a = windows(count, (i) => b[i] + noise[i]);
  const mean = noise.reduce((x, y) => x + y) / count;
  const deviation = Math.sqrt(noise.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (count - 1));
  const tokens = windows(count, () => 1);
  const { difference, low, high } = pairedDifference(a, b, tokens, seededRng(4));
  const half = (1.96 * deviation) / Math.sqrt(count);
  expect(difference).toBeCloseTo(mean, 12);
  // 4,000 resamples know the interval's ends to about 4 % of its half width (standard error of a 2.5 % quantile: 0.042 s / √n).
  expect(Math.abs(low - (mean - half))).toBeLessThan(0.1 * half);
  expect(Math.abs(high - (mean + half))).toBeLessThan(0.1 * half);
});

it("refuses other windows", () => {
  expect(() => pairedDifference([1], [1, 2], [1, 1], seededRng(1))).toThrow(
    expect.objectContaining({ code: "WINDOWS_DIFFER" }),
  );
});
