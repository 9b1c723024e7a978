import { seededRng } from "@layerfold/linalg";
import { describe, expect, it } from "vitest";
import { batchesOf, ctx, fakeSource } from "./capture.test.fixture.js";
import { captureActivations, captureSamples } from "./capture-activations.js";
import { parsePooling } from "./pooling.js";

// Depth d of token v is [v, d]: samples tell where they came from.
const source = fakeSource(2, 2, (depth, v) => [v, depth]);
const batches = batchesOf(
  [
    [1, 2, 3, 4, 5],
    [6, 7],
  ],
  [[8, 9, 10]],
);
const tokensOf = (data: Float32Array) => Array.from(data).filter((_, i) => i % 2 === 0);

describe("captureActivations", () => {
  it.each([
    ["last", [5, 7, 10]],
    ["mean", [3, 6.5, 9]],
    ["all", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
    ["every:2", [2, 4, 7, 9]],
    ["every:3", [3, 10]],
  ])("%s pooling keeps the real tokens it should, of every layer", async (name, expected) => {
    const { layers } = await captureActivations(source, batches, { pooling: parsePooling(name) }, ctx);
    expect(layers).toHaveLength(2);
    layers.forEach((layer, l) => {
      expect(layer.shape).toEqual([expected.length, 2]);
      expect(tokensOf(layer.data)).toEqual(expected);
      // Layer l is the stream after block l: depth l + 1.
      expect(layer.data[1]).toBe(l + 1);
    });
    expect(await captureSamples(source, batches, { pooling: parsePooling(name) }, ctx)).toEqual(layers);
  });

  it("maxSamples keeps that many, the same of every layer, each token with the same chance", async () => {
    const seen = new Map<number, number>();
    const runs = 2000;
    for (let seed = 0; seed < runs; seed++) {
      const options = { pooling: "all", maxSamples: 3 } as const;
      const { layers } = await captureActivations(source, batches, options, { ...ctx, rng: seededRng(seed) });
      expect(layers[0].shape).toEqual([3, 2]);
      const tokens = tokensOf(layers[0].data);
      expect(tokensOf(layers[1].data)).toEqual(tokens);
      expect(new Set(tokens).size).toBe(3);
      for (const token of tokens) seen.set(token, (seen.get(token) ?? 0) + 1);
    }
    // Binomial(2000, 3/10): standard deviation 20.5; five of them over ten counts of fixed seeds.
    for (let token = 1; token <= 10; token++)
      expect(Math.abs(seen.get(token)! - 0.3 * runs)).toBeLessThan(103);
  });

  it("reports progress in tokens", async () => {
    const done: number[] = [];
    const report = (event: { type: string; done?: number }) => {
      if (event.type === "progress") done.push(event.done!);
    };
    await captureActivations(source, batches, { pooling: "last", totalTokens: 10 }, { ...ctx, report });
    expect(done).toEqual([7, 10]);
  });

  it("refuses what gives no sample", async () => {
    await expect(captureActivations(source, [], { pooling: "last" }, ctx)).rejects.toMatchObject({
      code: "CALIBRATION_EMPTY",
    });
    await expect(captureActivations(source, batches, { pooling: { every: 6 } }, ctx)).rejects.toMatchObject({
      code: "SAMPLES_EMPTY",
    });
    await expect(
      captureActivations(source, batches, { pooling: "last", maxSamples: 0 }, ctx),
    ).rejects.toMatchObject({ code: "MAX_SAMPLES" });
  });
});
