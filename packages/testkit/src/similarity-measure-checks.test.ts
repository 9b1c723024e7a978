import {
  contiguousData,
  defineSimilarity,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type SimilarityMeasure,
  z,
} from "@layerfold/core";
import { expect, it } from "vitest";
import { similarityMeasureChecks } from "./similarity-measure-checks.js";

const optionsSchema = z.strictObject({});

/** 1/(1 + mean squared distance), with parts replaced to break one law at a time. */
function measure(change: Partial<Omit<SimilarityMeasure<Matrix>, "kind" | "id" | "options">> = {}) {
  return defineSimilarity<Matrix, typeof optionsSchema>({
    id: "demo",
    summary: "demo",
    optionsSchema,
    create: () => ({
      traits: { symmetric: true, stochastic: false, range: [0, 1], invariantTo: [] },
      prepare: (layer) => layer,
      compare: distanceForm,
      ...change,
    }),
  });
}

function distanceForm(a: Matrix, b: Matrix): number {
  if (matrixSize(a, "a").rows !== matrixSize(b, "b").rows) {
    throw new LayerfoldError("SAMPLE_COUNT_MISMATCH", "unpaired");
  }
  const x = contiguousData(a);
  const y = contiguousData(b);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] - y[i]) ** 2;
  return 1 / (1 + sum / x.length);
}

async function broken(make: () => SimilarityMeasure<Matrix>): Promise<string[]> {
  const names: string[] = [];
  for (const { name, run } of similarityMeasureChecks(make)) await run().catch(() => names.push(name));
  return names;
}

const traits = { symmetric: true, stochastic: false, range: [0, 1], invariantTo: [] } as const;

it("passes an honest measure", async () => {
  expect(await broken(measure())).toEqual([]);
});

it.each([
  [
    "is symmetric",
    {
      compare: (a: Matrix, b: Matrix) => distanceForm(a, b) * (a.data[a.offset] < b.data[b.offset] ? 1 : 0.5),
    },
  ],
  ["stays within its range", { traits: { ...traits, range: [0, 0.3] as const } }],
  ["is invariant to translation", { traits: { ...traits, invariantTo: ["translation"] as const } }],
  ["is invariant to isotropic-scale", { traits: { ...traits, invariantTo: ["isotropic-scale"] as const } }],
  ["is invariant to rotation", { traits: { ...traits, invariantTo: ["rotation"] as const } }],
  ["is invariant to linear", { traits: { ...traits, invariantTo: ["linear"] as const } }],
  [
    "reads strided layers as it reads contiguous ones",
    { prepare: (m: Matrix) => ({ ...m, stride: [m.shape[1], 1], offset: 0 }) },
  ],
  [
    "leaves its inputs untouched",
    {
      prepare: (m: Matrix) => {
        m.data[m.offset] += 1;
        return m;
      },
    },
  ],
  [
    "gives the same value for the same seed",
    {
      compare: (a: Matrix, b: Matrix, ctx: { rng: { uniform(): number } }) =>
        distanceForm(a, b) * (1 - 0.01 * ctx.rng.uniform()),
    },
  ],
  [
    "finds a layer at least as like itself as any other",
    { compare: (a: Matrix, b: Matrix) => 1 - distanceForm(a, b) },
  ],
  [
    "compareAll fills in what compare gives",
    { compareAll: () => ({ data: new Float64Array(9), shape: [3, 3], stride: [3, 1], offset: 0 }) },
  ],
] as const)("catches a measure that breaks: %s", async (name, change) => {
  expect(await broken(measure(change as never))).toContain(name);
});

it("catches a measure that takes unpaired layers", async () => {
  const careless = measure({ compare: () => 1 });
  expect(await broken(careless)).toContain("refuses layers with different numbers of samples");
});
