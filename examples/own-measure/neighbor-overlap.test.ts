import { tensor } from "@layerfold/core";
import { similarityMatrix } from "@layerfold/similarity";
import { randomMatrix, similarityMeasureChecks, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import neighborOverlap from "./neighbor-overlap.js";

// The laws that every measure obeys, and those that this one's traits claim.
describe("neighbor-overlap keeps the contract", () => {
  for (const { name, run } of similarityMeasureChecks(() => neighborOverlap())) it(name, run);
});

it("counts the neighbours in common", async () => {
  // On the line 0 1 3 7 the nearest neighbours are 1 0 1 2 (samples); on 0 1 3 4 they are 1 0 3 2: samples 0, 1 and 3 agree.
  const line = (...places: number[]) => tensor(Float64Array.from(places), [4, 1]);
  const measure = neighborOverlap({ neighborCount: 1 });
  const matrix = await similarityMatrix(measure, [line(0, 1, 3, 7), line(0, 1, 3, 4)], testContext(1));
  expect(Array.from(matrix.data)).toEqual([1, 3 / 4, 3 / 4, 1]);
});

it("refuses fewer samples than neighbours + 1", () => {
  const layer = randomMatrix(10, 2, testContext(1).rng);
  expect(() => neighborOverlap().prepare(layer, testContext(1))).toThrow(
    expect.objectContaining({ code: "SAMPLES_TOO_FEW", wanted: "at least 11" }),
  );
});
