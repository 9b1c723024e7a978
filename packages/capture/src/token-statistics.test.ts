import type { ReportEvent } from "@layerfold/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { batchesOf, ctx, fakeSource } from "./capture.test.fixture.js";
import { captureActivations } from "./capture-activations.js";

describe("token statistics", () => {
  it("know the angles between known directions, at every two depths, and the norms", async () => {
    // Depth d of token v points to d · v degrees and is v long.
    const source = fakeSource(3, 2, (depth, v) => {
      const angle = (depth * v * Math.PI) / 180;
      return [v * Math.cos(angle), v * Math.sin(angle)];
    });
    const batches = batchesOf([[30, 60], [45]], [[10]]);
    const { statistics } = await captureActivations(source, batches, { pooling: "last" }, ctx);
    expect(statistics.tokenCount).toBe(4);
    const mean = (f: (v: number) => number) => [30, 60, 45, 10].reduce((sum, v) => sum + f(v), 0) / 4;
    for (let a = 0; a <= 3; a++) {
      expect(statistics.norm[a]).toBeCloseTo(
        mean((v) => v),
        4,
      );
      for (let b = 0; b <= 3; b++) {
        const at = a * 4 + b;
        const degrees = (v: number) => Math.abs(a - b) * v;
        expect(statistics.angle.data[at]).toBeCloseTo(
          mean((v) => Math.min(degrees(v), 360 - degrees(v)) / 180),
          5,
        );
        expect(statistics.cosine.data[at]).toBeCloseTo(
          mean((v) => Math.cos((degrees(v) * Math.PI) / 180)),
          5,
        );
      }
    }
  });

  it("are what the plain formula gives, for any depth and width, and do not depend on pooling or batching", async () => {
    const model = fc.record({
      layers: fc.integer({ min: 1, max: 4 }),
      width: fc.integer({ min: 1, max: 5 }),
      seed: fc.integer({ min: 1, max: 1000 }),
    });
    await fc.assert(
      fc.asyncProperty(model, async ({ layers, width, seed }) => {
        const value = (d: number, v: number, k: number) =>
          Math.fround(Math.sin(seed + 7 * d + 3 * v + 11 * k) + 0.1);
        const stream = (d: number, v: number) =>
          Float32Array.from({ length: width }, (_, k) => value(d, v, k));
        const source = fakeSource(layers, width, stream);
        const capture = (pooling: "all" | "mean", ...batches: number[][][]) =>
          captureActivations(source, batchesOf(...batches), { pooling }, ctx);
        const one = (
          await capture("all", [
            [1, 2, 3],
            [4, 5],
          ])
        ).statistics;
        const two = (await capture("mean", [[4, 5]], [[1, 2, 3]])).statistics;
        for (let a = 0; a <= layers; a++) {
          for (let b = 0; b <= layers; b++) {
            let expected = 0;
            for (const v of [1, 2, 3, 4, 5]) {
              const [x, y] = [stream(a, v), stream(b, v)];
              const dot = (p: Float32Array, q: Float32Array) => p.reduce((sum, u, k) => sum + u * q[k], 0);
              expected += dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y)) / 5;
            }
            expect(one.cosine.data[a * (layers + 1) + b]).toBeCloseTo(expected, 10);
            expect(two.cosine.data[a * (layers + 1) + b]).toBeCloseTo(expected, 10);
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  it("name the place of a stream that is not finite, and report one that is zero", async () => {
    const broken = fakeSource(2, 2, (depth, v) => (depth === 2 && v === 9 ? [1, Number.NaN] : [1, 1]));
    await expect(
      captureActivations(broken, batchesOf([[1], [2, 9]]), { pooling: "last" }, ctx),
    ).rejects.toMatchObject({ code: "ACTIVATION_NOT_FINITE", where: "after layer 1, row 1, token 1" });
    const codes: string[] = [];
    const report = (event: ReportEvent) => {
      if (event.type === "diagnostic") codes.push(event.code);
    };
    const zero = fakeSource(1, 2, (depth) => (depth === 0 ? [0, 0] : [1, 0]));
    const { statistics } = await captureActivations(
      zero,
      batchesOf([[1]]),
      { pooling: "last" },
      { ...ctx, report },
    );
    expect(codes).toEqual(["ZERO_STREAM"]);
    expect(statistics.angle.data[1]).toBeCloseTo(0.5, 12);
  });
});
