import { type Hidden, type RunContext, tensor } from "@layerfold/core";
import { testContext } from "@layerfold/testkit";
import { expect, it, vi } from "vitest";
import type { CalibratedGroup } from "./front-to-back.js";
import { gatherEquations } from "./least-squares.js";

it("multiplies small batches of many features together, and misses none", async () => {
  const { rng, engine } = testContext(1);
  // Small integers, whose products are exact whichever way they are summed. 100 features are worth 7 rows.
  const [features, targets] = [100, 2];
  const integers = (rows: number, width: number) =>
    tensor(
      Float32Array.from({ length: rows * width }, () => rng.integer(9) - 4),
      [1, rows, width],
    );
  const batches = [3, 3, 2, 4, 1].map((rows) => ({
    a: integers(rows, features),
    t: integers(rows, targets),
  }));
  const group = {
    layers: [1],
    batchCount: batches.length,
    async *batches(from: number, to: number) {
      for (const { t } of batches.slice(from, to)) {
        const stream: Hidden = { states: t, lengths: Int32Array.of(t.shape[1]) };
        yield { input: stream, dense: async () => stream, target: stream, heldOut: false };
      }
    },
  } as unknown as CalibratedGroup;
  const matmul = vi.fn(engine.matmul);
  const observe = async ({ target }: { target: Hidden }) => {
    const { a, t } = batches.find((batch) => batch.t === target.states)!;
    return { features: [a], target: t };
  };
  const options = { ridge: [1], heldOutEvery: 2, tokenWeighting: "none" } as const;
  const { seen, tokens } = await gatherEquations(group, { features, targets }, options, observe, {
    ...testContext(1),
    engine: { ...engine, matmul: matmul as typeof engine.matmul },
  });
  expect(tokens).toBe(13);
  // Two batches a part: a product each for Gram and cross.
  expect(matmul.mock.calls).toHaveLength(6);
  const column = (f: number) =>
    batches.flatMap(({ a }) => Array.from({ length: a.shape[1] }, (_, r) => a.data[r * features + f]));
  const wanted = (f: number, t: number) => {
    const other = batches.flatMap(({ t: rows }) =>
      Array.from({ length: rows.shape[1] }, (_, r) => rows.data[r * targets + t]),
    );
    return column(f).reduce((sum, value, r) => sum + value * other[r], 0);
  };
  for (let f = 0; f < features; f++)
    for (let t = 0; t < targets; t++) expect(seen.cross.data[f * targets + t]).toBe(wanted(f, t));
  expect(seen.gram.tiles[0][7 * features + 3]).toBe(
    column(7).reduce((sum, value, r) => sum + value * column(3)[r], 0),
  );
});

it("gives the same bits when its parts are made elsewhere", async () => {
  const { rng } = testContext(2);
  const [features, targets] = [30, 3];
  const numbers = (rows: number, width: number) =>
    tensor(
      Float32Array.from({ length: rows * width }, () => rng.normal()),
      [1, rows, width],
    );
  const batches = Array.from({ length: 7 }, (_, i) => ({
    a: numbers(4 + i, features),
    t: numbers(4 + i, targets),
  }));
  const read: number[] = [];
  const group = {
    index: 3,
    layers: [1],
    batchCount: batches.length,
    async *batches(from: number, to: number) {
      for (const [i, { t }] of batches.slice(from, to).entries()) {
        read.push(from + i);
        const stream: Hidden = { states: t, lengths: Int32Array.of(t.shape[1]) };
        yield { input: stream, dense: async () => stream, target: stream, heldOut: (from + i) % 3 === 2 };
      }
    },
  } as unknown as CalibratedGroup;
  const observe = async ({ target }: { target: Hidden }) => {
    const { a, t } = batches.find((batch) => batch.t === target.states)!;
    return { features: [a], target: t };
  };
  const options = { ridge: [1, 0.1], heldOutEvery: 3, tokenWeighting: "inverse-norm" } as const;
  const gather = (ctx: RunContext) => gatherEquations(group, { features, targets }, options, observe, ctx);
  const alone = await gather(testContext(1));
  expect(read).toEqual([0, 1, 2, 3, 4, 5, 6]);
  const asked: string[] = [];
  const shared = await gather({
    ...testContext(1),
    async shareParts(name, count, make) {
      asked.push(`${name}, ${count} parts`);
      const parts: Uint8Array[] = [];
      for (let part = count - 1; part >= 0; part--) parts[part] = Buffer.from(await make(part));
      return parts;
    },
  });
  expect(asked).toEqual(["group 3: 30 × 3, 4 parts"]);
  expect(shared).toEqual(alone);
  expect(shared.tokens).toBe(49);
});
