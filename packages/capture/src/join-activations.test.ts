import { contiguousData } from "@layerfold/core";
import { expect, it } from "vitest";
import { batchesOf, ctx, fakeSource } from "./capture.test.fixture.js";
import { captureActivations } from "./capture-activations.js";
import { joinActivations } from "./join-activations.js";

const source = fakeSource(3, 4, (depth, v) => [v + depth, v * depth + 1, Math.sin(v * (depth + 1)), 1]);
const [first, second] = [
  batchesOf([
    [1, 2, 3, 4, 5],
    [6, 7],
  ]),
  batchesOf([[8, 9, 10]]),
];

it("is the capture of the whole text", async () => {
  const options = { pooling: { every: 2 } };
  const whole = await captureActivations(source, [...first, ...second], options, ctx);
  const parts = [
    await captureActivations(source, first, options, ctx),
    await captureActivations(source, second, options, ctx),
  ];
  const joined = joinActivations(parts);
  expect(joined.layers).toEqual(whole.layers);
  expect(joined.statistics.tokenCount).toBe(10);
  for (const name of ["cosine", "angle"] as const) {
    const [a, b] = [joined.statistics[name], whole.statistics[name]].map(contiguousData);
    for (const [i, value] of a.entries()) expect(value).toBeCloseTo(b[i], 13);
  }
  for (const [i, value] of joined.statistics.norm.entries()) {
    expect(value).toBeCloseTo(whole.statistics.norm[i], 12);
  }
});

it("refuses captures of different models", async () => {
  const other = fakeSource(2, 4, () => [1, 2, 3, 4]);
  const parts = [
    await captureActivations(source, first, { pooling: "all" }, ctx),
    await captureActivations(other, second, { pooling: "all" }, ctx),
  ];
  expect(() => joinActivations(parts)).toThrow(expect.objectContaining({ code: "CAPTURE_DIFFERS" }));
});
