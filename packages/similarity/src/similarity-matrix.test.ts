import {
  contiguousData,
  defineEmbedding,
  defineSimilarity,
  type Matrix,
  type ReportEvent,
  type SimilarityMeasure,
  tensor,
  z,
} from "@layerfold/core";
import { randomMatrix, testContext } from "@layerfold/testkit";
import { expect, it } from "vitest";
import { angular } from "./angular.js";
import { blockSimilarity } from "./block-similarity.js";
import { linearCka } from "./linear-cka.js";
import { random } from "./random.js";
import { relativeMagnitude } from "./relative-magnitude.js";
import { similarityMatrix } from "./similarity-matrix.js";

const layers = Array.from({ length: 4 }, (_, l) => randomMatrix(20, 5, testContext(l).rng));
const optionsSchema = z.strictObject({});

/** Counts what the driver does: the value of layers l and m is 10·(calls of l) + m. */
function counting(symmetric: boolean) {
  const calls = { prepare: 0, compare: [] as [Matrix, Matrix][] };
  const measure = defineSimilarity<Matrix, typeof optionsSchema>({
    id: "counting",
    summary: "",
    optionsSchema,
    create: () => ({
      traits: { symmetric, stochastic: false, range: [0, 1], invariantTo: [] },
      prepare(layer) {
        calls.prepare++;
        return layer;
      },
      compare(a, b) {
        calls.compare.push([a, b]);
        return layers.indexOf(a as Matrix<Float64Array>) + 10 * layers.indexOf(b as Matrix<Float64Array>);
      },
    }),
  })();
  return { measure, calls };
}

it("prepares each layer once and compares each unordered pair once where the measure is symmetric", async () => {
  const { measure, calls } = counting(true);
  const matrix = await similarityMatrix(measure, layers, testContext(1));
  expect(calls.prepare).toBe(4);
  expect(calls.compare.length).toBe(10);
  expect(Array.from(matrix.data)).toEqual([0, 10, 20, 30, 10, 11, 21, 31, 20, 21, 22, 32, 30, 31, 32, 33]);
});

it("compares both orders where it is not", async () => {
  const { measure, calls } = counting(false);
  const matrix = await similarityMatrix(measure, layers, testContext(1));
  expect(calls.compare.length).toBe(16);
  expect(Array.from(matrix.data)).toEqual(
    Array.from({ length: 16 }, (_, at) => Math.floor(at / 4) + 10 * (at % 4)),
  );
});

it("gives the same entries one by one, all at once and as blocks", async () => {
  const { compareAll, ...single } = linearCka();
  const ctx = testContext(1);
  const atOnce = await similarityMatrix(linearCka(), layers, ctx);
  const oneByOne = await similarityMatrix(single as SimilarityMeasure, layers, ctx);
  const blocks = await blockSimilarity(linearCka(), layers, 2, ctx);
  expect(compareAll).toBeDefined();
  for (let at = 0; at < 16; at++) expect(atOnce.data[at]).toBeCloseTo(oneByOne.data[at], 12);
  expect(Array.from(blocks)).toEqual([oneByOne.data[2], oneByOne.data[7]]);
});

it("blocks go from the layer before to the layer after", async () => {
  const [value] = await blockSimilarity(
    relativeMagnitude(),
    [tensor(Float64Array.of(3), [1, 1]), tensor(Float64Array.of(4), [1, 1])],
    1,
    testContext(1),
  );
  expect(value).toBeCloseTo(1 - 1 / 4, 15);
});

it("fits the embedding to every layer first", async () => {
  const double = defineEmbedding({
    id: "shift",
    summary: "",
    optionsSchema,
    create: () => ({
      fit: async (points) => ({
        coordinates: tensor(contiguousData(points).map((v) => v + 100) as Float64Array, points.shape),
      }),
    }),
  })();
  const shifted = layers.map((layer) =>
    tensor(
      layer.data.map((v) => v + 100),
      layer.shape,
    ),
  );
  const ctx = testContext(1);
  const got = await similarityMatrix(angular(), layers, ctx, { embedding: double });
  expect(got.data).toEqual((await similarityMatrix(angular(), shifted, ctx)).data);
});

it("draws the same numbers for a pair whatever else is compared", async () => {
  const all = await similarityMatrix(random(), layers, testContext(3));
  const fewer = await similarityMatrix(random(), layers.slice(0, 3), testContext(3));
  expect(fewer.data[1]).toBe(all.data[1]);
  expect(fewer.data[5]).toBe(all.data[6]);
  expect(new Set(all.data).size).toBe(7);
});

it("reports progress to the end", async () => {
  const events: ReportEvent[] = [];
  await similarityMatrix(angular(), layers, testContext(1, { report: (event) => events.push(event) }));
  expect(events.at(-1)).toEqual({
    type: "progress",
    stage: "similarity",
    done: 10,
    total: 10,
    unit: "pairs",
  });
});

it("stops when asked to", async () => {
  const controller = new AbortController();
  const ctx = testContext(1, { signal: controller.signal, report: () => controller.abort() });
  await expect(similarityMatrix(angular(), layers, ctx)).rejects.toMatchObject({ code: "INTERRUPTED" });
});

it.each([
  ["no layers", [], "LAYERS_TOO_FEW", undefined],
  [
    "unpaired layers",
    [layers[0], randomMatrix(19, 5, testContext(1).rng)],
    "SAMPLE_COUNT_MISMATCH",
    "layer 1",
  ],
  ["NaN", [layers[0], withValue(layers[1], 7 * 5 + 2, Number.NaN)], "POINTS_NOT_FINITE", "layer 1, row 7"],
  ["an infinity", [withValue(layers[1], 0, Number.NEGATIVE_INFINITY)], "POINTS_NOT_FINITE", "layer 0, row 0"],
])("refuses %s", async (_, bad, code, where) => {
  await expect(similarityMatrix(angular(), bad, testContext(1))).rejects.toMatchObject({ code, where });
});

it("names the pair when a measure gives NaN", async () => {
  const { measure } = counting(true);
  const broken = {
    ...measure,
    compare: (a: Matrix, b: Matrix) => (a === layers[1] && b === layers[3] ? Number.NaN : 1),
  };
  await expect(similarityMatrix(broken, layers, testContext(1))).rejects.toMatchObject({
    code: "SIMILARITY_NOT_A_NUMBER",
    where: "counting of layers 1 and 3",
  });
});

it("names the layer whose embedding or measure fails, and the layer of a diagnostic", async () => {
  const constant = tensor(new Float64Array(100).fill(3), [20, 5]);
  await expect(similarityMatrix(linearCka(), [layers[0], constant], testContext(1))).rejects.toMatchObject({
    code: "LAYER_CONSTANT",
    where: "layer 1",
  });
  const narrow = randomMatrix(20, 4, testContext(9).rng);
  await expect(similarityMatrix(angular(), [layers[0], narrow], testContext(1))).rejects.toMatchObject({
    code: "FEATURE_COUNT_MISMATCH",
    where: "layers 0 and 1",
  });
  const heard: string[] = [];
  const embedding = defineEmbedding({
    id: "talking",
    summary: "",
    optionsSchema,
    create: () => ({
      async fit(points, { report }) {
        report?.({ type: "diagnostic", severity: "info", code: "SAID", message: "so" });
        return { coordinates: points };
      },
    }),
  })();
  const report = (event: ReportEvent) => {
    if (event.type === "diagnostic") heard.push(event.message);
  };
  await similarityMatrix(angular(), layers.slice(0, 2), { ...testContext(1), report }, { embedding });
  expect(heard).toEqual(["layer 0: so", "layer 1: so"]);
});

it.each([0, 4, 1.5])("refuses a block of %d among 4 layers", async (size) => {
  await expect(blockSimilarity(angular(), layers, size, testContext(1))).rejects.toMatchObject({
    code: "BLOCK_SIZE_INVALID",
  });
});

function withValue(layer: Matrix<Float64Array>, at: number, value: number): Matrix {
  const data = layer.data.slice();
  data[at] = value;
  return tensor(data, layer.shape);
}
