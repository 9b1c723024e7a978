import { type Matrix, type RunContext, tensor } from "@layerfold/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gram } from "./gram.js";
import { portableEngine } from "./portable-engine.js";
import { seededRng } from "./seeded-rng.js";

const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };

describe("gram", () => {
  it("is X·Xᵀ to the last digit, in one block and in several, for strided points too", async () => {
    const rows = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 255, max: 520 }));
    await fc.assert(
      fc.asyncProperty(rows, fc.integer({ min: 1, max: 4 }), fc.boolean(), async (n, features, strided) => {
        // Products of small integers are exact in float32.
        const values = Float32Array.from({ length: 2 * n * features }, (_, i) => ((i * 7) % 11) - 5);
        const points: Matrix = strided
          ? tensor(values, [n, features], [2 * features, 2])
          : tensor(values, [n, features]);
        const before = values.slice();
        const wanted = await ctx.engine.matmul(points, points, { transposeB: true });
        const got = await gram(points, ctx);
        expect(got.shape).toEqual([n, n]);
        expect(got.data.every((value, at) => value === wanted.data[at])).toBe(true);
        expect(values).toEqual(before);
      }),
      { numRuns: 20 },
    );
  });

  it("is symmetric to the last bit, in float64 too", async () => {
    const rng = seededRng(3);
    const points = tensor(Float64Array.from({ length: 300 * 7 }, rng.normal), [300, 7]);
    const { data } = await gram(points, ctx);
    expect(data).toBeInstanceOf(Float64Array);
    for (let i = 0; i < 300; i++) {
      for (let j = 0; j < i; j++) if (data[i * 300 + j] !== data[j * 300 + i]) expect.fail(`${i}, ${j}`);
    }
  });

  it("stops when it is asked to", async () => {
    const points = tensor(new Float32Array(6), [3, 2]);
    await expect(gram(points, { ...ctx, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "INTERRUPTED",
    });
  });
});
