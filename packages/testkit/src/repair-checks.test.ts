import {
  type BlockView,
  defineRepair,
  LayerfoldError,
  type Repair,
  type RepairedBlock,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { expect, it } from "vitest";
import { brokenLaws } from "./broken-laws.test.fixture.js";
import { repairChecks } from "./repair-checks.js";

type Fit = Repair["fit"];

/** Reads the calibration's streams and leaves every block as the strategy made it. */
const honest: Fit = async function* (_model, plan, folded, calibration, ctx) {
  let tokens = 0;
  for await (const { lengths } of calibration()) tokens += lengths.length;
  if (tokens === 0) throw new LayerfoldError("CALIBRATION_EMPTY", "no text");
  for (const index of plan.groups.keys()) {
    throwIfAborted(ctx.signal);
    yield { index, block: await folded(index) };
  }
};

const repair = (fit: Fit, rest: Partial<Repair> = {}) =>
  defineRepair({
    id: "demo",
    summary: "demo",
    optionsSchema: z.strictObject({}),
    create: () => ({ ...rest, fit }),
  });

/** The honest blocks, each changed. */
const changed = (change: (block: RepairedBlock, call: number) => RepairedBlock | undefined): Fit => {
  let call = 0;
  return async function* (...args) {
    for await (const block of honest(...args)) {
      const now = change(block, call++);
      if (now) yield now;
    }
  };
};

/** The block, its down projection times a factor. */
function scaled(block: BlockView, factor: number): BlockView {
  const down = block.tensors.get("mlp.down")!;
  const values = Float32Array.from(down.data, (x) => factor * x);
  return {
    ...block,
    tensors: new Map([...block.tensors, ["mlp.down", tensor(values, down.shape)] as const]),
  };
}

it("passes an honest repair", async () => {
  expect(await brokenLaws(repairChecks(repair(honest)))).toEqual([]);
});

it.each<[string, Fit]>([
  [
    "gives every block once and in order, such as can stand in its place",
    changed((b) => (b.index === 1 ? undefined : b)),
  ],
  [
    "reports no smaller error than a block leaves",
    changed((b) => ({ ...b, error: { before: 0, after: 0 } })),
  ],
  [
    "leaves a model alone from which nothing was taken",
    changed((b) => ({ ...b, block: scaled(b.block, 1.1) })),
  ],
  [
    "gives the same blocks for the same calibration",
    changed((b, call) => ({ ...b, block: scaled(b.block, call) })),
  ],
  [
    "leaves model, folded blocks and calibration untouched",
    changed(({ block, ...rest }) => {
      block.tensors.get("mlp.up")!.data[0] += 1;
      return { ...rest, block };
    }),
  ],
  [
    "goes on from what is finished, and ends alike",
    async function* (model, plan, folded, calibration, ctx, finished) {
      for await (const block of honest(model, plan, folded, calibration, ctx)) {
        if (!(await finished?.(block.index))) yield block;
      }
    },
  ],
  ["ends when the work is called off", (m, p, f, c, { signal: _, ...ctx }) => honest(m, p, f, c, ctx)],
  [
    "refuses a calibration without tokens",
    async function* (_model, plan, folded) {
      for (const index of plan.groups.keys()) yield { index, block: await folded(index) };
    },
  ],
  [
    "reads no padding",
    async function* (model, plan, folded, calibration, ctx) {
      let sum = 1;
      for await (const batch of calibration()) {
        for (const x of (await model.embed(batch)).states.data) sum += x;
      }
      for await (const { index, block } of honest(model, plan, folded, calibration, ctx)) {
        yield { index, block: scaled(block, sum) };
      }
    },
  ],
])("catches a repair that breaks: %s", async (law, fit) => {
  expect(await brokenLaws(repairChecks(repair(fit)))).toContain(law);
});

it("catches a repair that refuses what it can do", async () => {
  const law = "says beforehand what it refuses, and not what it can do";
  expect(await brokenLaws(repairChecks(repair(honest, { refuses: () => "no" })))).toEqual([law]);
});

it("catches alternatives and a repair without merging that are none", async () => {
  const law = "names a repair that merges nothing, and alternatives, only as far as they are such";
  for (const rest of [
    { alternatives: [{ heads: "none" }] },
    { withoutMerging: () => repair(honest)() },
    { merges: true, withoutMerging: () => repair(honest, { merges: true })() },
  ] satisfies Partial<Repair>[]) {
    expect(await brokenLaws(repairChecks(repair(honest, rest)))).toEqual([law]);
  }
});
