import { readFileSync } from "node:fs";
import { tensor } from "@layerfold/core";
import { ridgeLeastSquares } from "@layerfold/linalg";
import { expect, it } from "vitest";
import { ctx } from "../tiny-models.test.fixture.js";
import { float64 } from "./block-linear.js";
import type { CalibratedGroup } from "./front-to-back.js";
import { addRows, emptyEquations } from "./normal-equations.js";
import { raiseCosine } from "./update-cosine.js";

// numpy and scipy (BFGS); test/golden/update_maps.py makes the file.
const golden = JSON.parse(
  readFileSync(new URL("../../test/golden/update-maps.json", import.meta.url), "utf8"),
);
const { tokens, size, ridge } = golden;
const rows = (values: number[]) => tensor(Float32Array.from(values), [1, tokens, size]);
const target = { states: rows(golden.target), lengths: Int32Array.of(tokens) };
const group: CalibratedGroup = {
  index: 0,
  layers: [0, 1],
  sinceFold: 0,
  anchor: 0,
  batchCount: 1,
  async *batches() {
    yield { input: target, dense: async () => target, target, heldOut: false };
  },
};
const observe = async () => ({ update: rows(golden.update), rest: rows(golden.rest) });

it("starts from numpy's least-squares map and rises to scipy's largest mean cosine", async () => {
  const equations = emptyEquations(size, size);
  const flat = (values: number[]) => tensor(Float64Array.from(values), [tokens, size]);
  const missing = golden.target.map((z: number, i: number) => z - golden.rest[i]);
  await addRows(equations, flat(golden.update), flat(missing), ctx);
  const start = float64(await ridgeLeastSquares({ ...equations, ridge }, ctx));
  start.data.forEach((value, i) => {
    expect(value).toBeCloseTo(golden.leastSquares[i], 5);
  });
  const { before, after } = await raiseCosine(group, observe, start, { ridge, steps: 200 }, ctx);
  expect(before).toBeCloseTo(golden.leastSquaresCosine, 5);
  expect(after).toBeGreaterThan(golden.largestCosine - 1e-3);
  // Judged in float32.
  expect(after).toBeLessThan(golden.largestCosine + 1e-6);
});

it("never falls, step by step", async () => {
  const start = tensor(Float64Array.from(golden.leastSquares as number[]), [size, size]);
  let last = golden.leastSquaresCosine - 1e-6;
  for (const steps of [1, 2, 3, 5]) {
    const { after } = await raiseCosine(group, observe, start, { ridge, steps }, ctx);
    expect(after).toBeGreaterThanOrEqual(last);
    last = after;
  }
});
