import { expect, it } from "vitest";
import { bandwidthByRule } from "./bandwidth.js";

// With all pairs at one distance D, the slope of log ΣK against log ε is a·x/(a + eˣ), x = D²/ε, a = n − 1: steepest where a = (x − 1)·eˣ.
it.each([4, 10, 200])("max-slope finds the steepest point of a simplex of %i points", (size) => {
  let [low, high] = [1, 10];
  for (let step = 0; step < 60; step++) {
    const x = (low + high) / 2;
    if ((x - 1) * Math.exp(x) < size - 1) low = x;
    else high = x;
  }
  const squared = 5;
  const pairs = new Float64Array((size * (size - 1)) / 2).fill(squared);
  // A wider grid needs other distances at its ends; one pair each does not move the maximum beyond the grid's step.
  pairs[0] = squared / 50;
  pairs[1] = squared * 50;
  const found = bandwidthByRule("max-slope", "gaussian", { pairs, neighbors: () => pairs, size });
  const step = size < 10 ? 2 : 2 ** 0.25;
  expect(found / (squared / low)).toBeLessThanOrEqual(step);
  expect(found / (squared / low)).toBeGreaterThanOrEqual(1 / step);
});
