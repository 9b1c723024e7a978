import { type BlockView, contiguousData, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { drop } from "./drop.js";
import { isNormRole } from "./tensorwise.js";
import { weighted } from "./weighted.js";

const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };

const blocks = (count: number, seed: number): BlockView[] => {
  const rng = seededRng(seed);
  return Array.from({ length: count }, (_, layer) => ({
    layer,
    type: "full_attention+rope+mlp",
    tensors: new Map([
      ["norm.mlp", tensor(Float32Array.from({ length: 4 }, () => rng.normal()))],
      [
        "mlp.down",
        tensor(
          Float32Array.from({ length: 12 }, () => rng.normal()),
          [4, 3],
        ),
      ],
    ]),
  }));
};

const cases = fc.tuple(fc.integer({ min: 2, max: 5 }), fc.nat(1000));

describe("weighted", () => {
  it("with weights of one 1 and 0 elsewhere gives that block, bit for bit, as drop does", async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.nat(4), async ([count, seed], pick) => {
        const views = blocks(count, seed);
        const kept = pick % count;
        const weights = views.map((_, k) => (k === kept ? 1 : 0));
        for (const strategy of [weighted(), drop()]) {
          const merged = await strategy.merge(views, weights, ctx);
          for (const [role, t] of views[kept].tensors) {
            expect(contiguousData(merged.tensors.get(role)!)).toEqual(contiguousData(t));
          }
        }
      }),
    );
  });

  it("is linear in the weights", async () => {
    const views = blocks(2, 7);
    const at = async (a: number) => {
      const merged = await weighted().merge(views, [a, 1 - a], ctx);
      return contiguousData(merged.tensors.get("mlp.down")!)[5];
    };
    expect(await at(0.25)).toBeCloseTo(0.25 * (await at(1)) + 0.75 * (await at(0)), 6);
  });

  it("keeps the first layer's norms when asked to", async () => {
    const views = blocks(2, 3);
    const merged = await weighted({ norms: "keep" }).merge(views, [0.5, 0.5], ctx);
    expect(merged.tensors.get("norm.mlp")).toEqual(views[0].tensors.get("norm.mlp"));
    expect(merged.tensors.get("mlp.down")).not.toEqual(views[0].tensors.get("mlp.down"));
  });
});

it("knows norms by their role", () => {
  expect(
    ["norm.mlp", "norm.attention.post.bias", "attention.query_norm", "attention.key_norm"].every(isNormRole),
  ).toBe(true);
  expect(["mlp.down", "attention.query", "attention.query.bias"].some(isNormRole)).toBe(false);
});
