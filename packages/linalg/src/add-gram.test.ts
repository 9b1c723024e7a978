import { type RunContext, tensor, zeros } from "@layerfold/core";
import { expect, it } from "vitest";
import { addGram } from "./add-gram.js";
import { portableEngine } from "./portable-engine.js";
import { seededRng } from "./seeded-rng.js";

const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };

it.each([5, 768, 790])("adds the products of %i columns, symmetric to the last bit", async (size) => {
  // Products of small integers are exact in float32.
  const rows = tensor(
    Float32Array.from({ length: 6 * size }, (_, i) => ((i * 7) % 11) - 5),
    [6, size],
  );
  const sum = zeros([size, size], "float64");
  await addGram(sum, rows, ctx);
  await addGram(sum, rows, ctx);
  const { data } = await ctx.engine.matmul(rows, rows, { transposeA: true });
  expect(sum.data.every((value, at) => value === 2 * data[at])).toBe(true);
});
