import { type BlockView, contiguousData, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { breadcrumbs } from "./breadcrumbs.js";
import { dare } from "./dare.js";
import { differenceSum } from "./difference-sum.js";
import { drop } from "./drop.js";
import { slerp } from "./slerp.js";
import { taskArithmetic } from "./task-arithmetic.js";
import { isNormRole } from "./tensorwise.js";
import { ties } from "./ties.js";
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

const down = (block: BlockView) => contiguousData(block.tensors.get("mlp.down")!);

it("difference-sum adds every later layer's difference from the first", async () => {
  const views = blocks(3, 4);
  const merged = down(await differenceSum().merge(views, [], ctx));
  const telescoped = down(await differenceSum({ reading: "telescoping" }).merge(views, [], ctx));
  const [a, b, c] = views.map(down);
  merged.forEach((value: number, i: number) => {
    expect(value).toBeCloseTo(b[i] + c[i] - a[i], 5);
  });
  expect(telescoped).toEqual(c);
});

it("task-arithmetic runs from the first layer over the mean to the sum of differences", async () => {
  const views = blocks(3, 4);
  const close = async (scale: number, wanted: ArrayLike<number>) =>
    down(await taskArithmetic({ scale }).merge(views, [], ctx)).forEach((value: number, i: number) => {
      expect(value).toBeCloseTo(wanted[i], 5);
    });
  await close(0, down(views[0]));
  await close(1 / 3, down(await weighted().merge(views, [1 / 3, 1 / 3, 1 / 3], ctx)));
  await close(1, down(await differenceSum().merge(views, [], ctx)));
});

describe("slerp", () => {
  const block = (x: number, y: number): BlockView => ({
    layer: 0,
    type: "t",
    tensors: new Map([["mlp.down", tensor(Float32Array.of(x, y), [1, 2])]]),
  });

  it("runs along the circle: a third of a right angle is 30 degrees", async () => {
    const [x, y] = down(await slerp().merge([block(2, 0), block(0, 2)], [2 / 3, 1 / 3], ctx));
    expect(x).toBeCloseTo(2 * Math.cos(Math.PI / 6), 6);
    expect(y).toBeCloseTo(1, 6);
  });

  it("is linear between parallel tensors, and gives the ends for weights of 1 and 0", async () => {
    expect([...down(await slerp().merge([block(1, 1), block(3, 3)], [0.5, 0.5], ctx))]).toEqual([2, 2]);
    expect([...down(await slerp().merge([block(1, 5), block(3, 3)], [1, 0], ctx))]).toEqual([1, 5]);
    expect([...down(await slerp().merge([block(0, 0), block(3, 3)], [0.5, 0.5], ctx))]).toEqual([1.5, 1.5]);
  });
});

/** A block of one tensor. */
const row = (...values: number[]): BlockView => ({
  layer: 0,
  type: "t",
  tensors: new Map([["mlp.down", tensor(Float32Array.from(values), [1, values.length])]]),
});

it("ties keeps the largest differences, and of those the ones that agree", async () => {
  const views = [row(1, 1, 1, 1), row(5, 1.5, -1, 1.25), row(3, 0.75, 4, 1)];
  // Differences [4, ½, −2, ¼] and [2, −¼, 3, 0]; the larger half: [4, ., −2, .] and [2, ., 3, .]; signs +, +: means 3 and 3.
  const merged = down(await ties({ density: 0.5 }).merge(views, [], ctx));
  expect([...merged]).toEqual([4, 1, 4, 1]);
});

it("breadcrumbs masks small and large differences", async () => {
  const views = [row(0, 0, 0, 0), row(1, -2, 3, 4)];
  const merged = down(await breadcrumbs({ smallest: 0.25, largest: 0.25 }).merge(views, [0.5, 0.5], ctx));
  expect([...merged]).toEqual([0, -1, 1.5, 0]);
});

it.each([
  ["dare without drops", dare({ dropRate: 0 })],
  ["breadcrumbs without masks", breadcrumbs({ smallest: 0, largest: 0 })],
])("%s is the weighted mean", async (_, strategy) => {
  const views = blocks(3, 9);
  const weights = [0.5, 0.3, 0.2];
  const wanted = down(await weighted().merge(views, weights, ctx));
  down(await strategy.merge(views, weights, ctx)).forEach((value: number, i: number) => {
    expect(value).toBeCloseTo(wanted[i], 6);
  });
});

it("dare drops its share of the differences, doubles the rest, and draws the same again", async () => {
  const zero = row(...new Array(4000).fill(0));
  const one = row(...new Array(4000).fill(1));
  const merged = down(await dare({ dropRate: 0.5 }).merge([zero, one], [0.5, 0.5], ctx));
  expect(new Set(merged)).toEqual(new Set([0, 1]));
  const share = Array.from(merged).reduce((sum: number, value: number) => sum + value, 0) / 4000;
  // Five standard deviations of a fair coin tossed 4,000 times.
  expect(Math.abs(share - 0.5)).toBeLessThan(5 * Math.sqrt(0.25 / 4000));
  expect(down(await dare({ dropRate: 0.5 }).merge([zero, one], [0.5, 0.5], ctx))).toEqual(merged);
});
