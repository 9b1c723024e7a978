// Threads run the built package, which `npm test` has made beforehand.
import type { ProgressEvent } from "@layerfold/core";
import { randomMatrix, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { comparePairs } from "./compare-pairs.js";
import { estimateInformation, type InformationOptions, preparePoints } from "./estimate-information.js";
import { npib } from "./npib.js";
import { readPoints } from "./read-points.js";

const ctx = testContext(1);
const layers = Array.from({ length: 5 }, (_, l) =>
  readPoints(randomMatrix(120, l === 4 ? 3 : 2, ctx.rng), 6),
);
const pairs = layers.flatMap((_, l) => layers.slice(l + 1).map((_, m) => [l, l + 1 + m] as [number, number]));

describe.each(["ksg1", "ksg2", "univariate"] as const)("comparePairs by %s", (estimator) => {
  const options: InformationOptions = { estimator, neighborCount: 5, nonUniformityThreshold: 0 };
  const prepared = layers.map((points) => preparePoints(points, options));
  const wanted = Float64Array.from(pairs, ([l, m]) => estimateInformation(prepared[l], prepared[m], options));

  it.each([1, 2, 3])("gives on %i threads to the last bit what one thread gives", async (threads) => {
    const heard: ProgressEvent[] = [];
    const report = (event: unknown) => heard.push(event as ProgressEvent);
    expect(await comparePairs(layers, pairs, options, threads, { ...ctx, report })).toEqual(wanted);
    expect(heard.map(({ done, total }) => `${done}/${total}`)).toEqual(
      pairs.map((_, i) => `${i + 1}/${pairs.length}`),
    );
  });
});

it("stops its threads when it is asked to", async () => {
  const controller = new AbortController();
  const many = Array.from({ length: 300 }, () => [0, 1] as [number, number]);
  const large = [0, 1].map(() => readPoints(randomMatrix(3000, 2, ctx.rng), 6));
  const options: InformationOptions = { estimator: "ksg1", neighborCount: 5, nonUniformityThreshold: 0 };
  let heard = 0;
  const report = () => {
    if (++heard === 3) controller.abort();
  };
  await expect(
    comparePairs(large, many, options, 2, { ...ctx, signal: controller.signal, report }),
  ).rejects.toMatchObject({ code: "INTERRUPTED" });
  expect(heard).toBeLessThan(many.length);
});

it("npib of all pairs at once is npib of each, and leaves few samples to one thread", async () => {
  const measure = npib();
  const matrices = Array.from({ length: 20 }, () => randomMatrix(1100, 2, ctx.rng));
  matrices.push(matrices[3]);
  const prepared = await Promise.all(matrices.map((matrix) => measure.prepare(matrix, testContext(2))));
  const all = await measure.compareAll?.(prepared, ctx);
  expect(all?.shape).toEqual([21, 21]);
  for (const [l, m] of [
    [0, 0],
    [3, 20],
    [0, 1],
    [7, 2],
    [19, 20],
  ]) {
    expect(all?.data[l * 21 + m]).toBe(await measure.compare(prepared[l], prepared[m], ctx));
  }
  expect(await measure.compareAll?.(prepared.slice(0, 3), ctx)).toBeUndefined();
});
