import {
  type BlockView,
  contiguousData,
  defineStrategy,
  LayerfoldError,
  type MergeStrategy,
  type Tensor,
  tensor,
  z,
} from "@layerfold/core";
import { expect, it } from "vitest";
import { brokenLaws } from "./broken-laws.test.fixture.js";
import { strategyChecks } from "./strategy-checks.js";

type Merge = MergeStrategy["merge"];

/** The weighted mean, role by role; `read` gives a tensor's values. */
const mean =
  (read: (value: Tensor) => ArrayLike<number> = contiguousData): Merge =>
  ([first, ...others], weights) => {
    const tensors = [...first.tensors].map(
      ([
        role,
        {
          shape,
          data: { length },
        },
      ]) => {
        const parts = [first, ...others].map((block) => block.tensors.get(role)!);
        if (parts.some((part) => part.shape.join() !== shape.join())) {
          throw new LayerfoldError("LAYERS_INCOMPATIBLE", "no");
        }
        const values = parts.map(read);
        const count = shape.reduce((a, b) => a * b, 1);
        const sum = Float32Array.from({ length: Math.min(count, length) }, (_, i) =>
          values.reduce((total, value, k) => total + weights[k] * value[i], 0),
        );
        return [role, tensor(sum, shape)] as const;
      },
    );
    return { ...first, tensors: new Map(tensors) };
  };

const strategy = (merge: Merge) =>
  defineStrategy({
    id: "demo",
    summary: "demo",
    optionsSchema: z.strictObject({}),
    create: () => ({ merge }),
  });
const broken = (merge: Merge) => brokenLaws(strategyChecks(strategy(merge), { followsWeights: true }));
/** An honest mean, its result changed. */
const changed =
  (change: (block: BlockView) => BlockView): Merge =>
  async (...args) =>
    change(await mean()(...args));

it("catches a strategy that merges, but says that it drops", async () => {
  const make = defineStrategy({
    id: "demo",
    summary: "demo",
    optionsSchema: z.strictObject({}),
    create: () => ({ drops: true, merge: mean() }),
  });
  expect(await brokenLaws(strategyChecks(make))).toEqual([
    "keeps one of the blocks as it is if it says that it drops",
  ]);
});

it("catches a strategy whose coefficients are not those of its merge", async () => {
  const make = (coefficients: NonNullable<MergeStrategy["coefficients"]>) =>
    defineStrategy({
      id: "demo",
      summary: "demo",
      optionsSchema: z.strictObject({}),
      create: () => ({ merge: mean(), coefficients }),
    });
  expect(await brokenLaws(strategyChecks(make((weights) => weights)))).toEqual([]);
  const others = [
    (weights: readonly number[]) => weights.toReversed(),
    (weights: readonly number[], role: string) => (role === "norm.mlp" ? [1, 0, 0] : weights),
  ];
  for (const coefficients of others) {
    expect(await brokenLaws(strategyChecks(make(coefficients)))).toEqual([
      "merges as its coefficients say, if it gives them",
    ]);
  }
});

it("catches a strategy that mixes roles, but says that it is tensorwise", async () => {
  const make = (merge: Merge) =>
    defineStrategy({
      id: "demo",
      summary: "demo",
      optionsSchema: z.strictObject({}),
      create: () => ({ tensorwise: true, merge }),
    });
  expect(await brokenLaws(strategyChecks(make(mean())))).toEqual([]);
  const mixed: Merge = async (blocks, weights, ctx) => {
    const merged = await mean()(blocks, weights, ctx);
    const down = merged.tensors.get("mlp.down");
    if (down) down.data[0] += 1e-3 * (merged.tensors.get("mlp.up")?.data[0] ?? 0);
    return merged;
  };
  expect(await brokenLaws(strategyChecks(make(mixed), { tolerance: 0.1 }))).toEqual([
    "merges each tensor by itself if it says that it is tensorwise",
  ]);
});

it("passes an honest mean", async () => {
  expect(await broken(mean())).toEqual([]);
});

let calls = 0;
it.each<[string, Merge]>([
  [
    "makes a block that can stand for those that it was made of",
    changed((block) => ({ ...block, tensors: new Map([...block.tensors].slice(1)) })),
  ],
  [
    "leaves its inputs untouched",
    (blocks, weights, ctx) => {
      blocks[1].tensors.get("mlp.up")!.data[0] += 1;
      return mean()(blocks, weights, ctx);
    },
  ],
  ["reads strided tensors as it reads contiguous ones", mean(({ data }) => data)],
  [
    "gives the same block for the same seed",
    changed((block) => {
      block.tensors.get("mlp.up")!.data[0] += calls++;
      return block;
    }),
  ],
  [
    "merges equal layers into what does as they do",
    (blocks, weights, ctx) =>
      mean()(
        blocks,
        weights.map((w) => w / 2),
        ctx,
      ),
  ],
  [
    "gives a block that has all the weight",
    (blocks, weights, ctx) =>
      mean()(
        blocks,
        weights.map(() => 1 / weights.length),
        ctx,
      ),
  ],
  [
    "refuses blocks of different shapes, or keeps one of them",
    ([first, second]) => ({
      ...first,
      tensors: new Map([...first.tensors, ...[...second.tensors].slice(0, 3)]),
    }),
  ],
])("catches a strategy that breaks: %s", async (law, merge) => {
  expect(await broken(merge)).toContain(law);
});
