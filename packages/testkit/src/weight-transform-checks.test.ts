import {
  type BlockView,
  defineWeightTransform,
  LayerfoldError,
  tensor,
  type WeightTransform,
  z,
} from "@layerfold/core";
import { expect, it } from "vitest";
import { brokenLaws } from "./broken-laws.test.fixture.js";
import { weightTransformChecks } from "./weight-transform-checks.js";

type Fit = WeightTransform["fit"];

/** Some tensors times a factor. */
function times(block: BlockView, factors: Readonly<Record<string, number>>): BlockView {
  const tensors = [...block.tensors].map(([role, value]) => {
    const factor = factors[role] ?? 1;
    return [
      role,
      tensor(
        Float32Array.from(value.data, (x) => factor * x),
        value.shape,
      ),
    ] as const;
  });
  return { ...block, tensors: new Map(tensors) };
}

/** The MLP's norm halved and what reads it doubled, where the statistics are there. */
const honest: Fit = (block, statistics) => {
  if (!statistics.get("mlp.up")?.absoluteMaximum) throw new LayerfoldError("STATISTICS_MISSING", "no");
  return times(block, { "norm.mlp": 0.5, "mlp.gate": 2, "mlp.up": 2 });
};

const broken = (fit: Fit) =>
  brokenLaws(
    weightTransformChecks(
      defineWeightTransform({
        id: "demo",
        summary: "demo",
        optionsSchema: z.strictObject({}),
        create: () => ({ needs: ["absoluteMaximum"], fit }),
      }),
    ),
  );

it("passes an honest transform", async () => {
  expect(await broken(honest)).toEqual([]);
});

let calls = 0;
it.each<[string, Fit]>([
  [
    "gives a block of the same roles and shapes",
    (block) => ({ ...block, tensors: new Map([...block.tensors].slice(1)) }),
  ],
  ["gives a block that does what it did", (block) => times(block, { "mlp.up": 2 })],
  [
    "leaves block and statistics untouched",
    (block, ...rest) => {
      block.tensors.get("mlp.up")!.data[0] += 1;
      return honest(block, ...rest);
    },
  ],
  ["gives the same block for the same calibration", (block) => times(block, { "mlp.up": calls++ })],
  ["refuses to run without the statistics that it needs", (block) => block],
])("catches a transform that breaks: %s", async (law, fit) => {
  expect(await broken(fit)).toContain(law);
});
