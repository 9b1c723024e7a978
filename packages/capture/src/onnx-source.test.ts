import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tokenBatch } from "@layerfold/core";
import { onnxTensor, openSession, readOnnxModel } from "@layerfold/onnx";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ctx } from "./capture.test.fixture.js";
import { captureActivations } from "./capture-activations.js";
import { onnxSource } from "./onnx-source.js";
import { type TinyDecoder, tinyOnnxDecoder } from "./tiny-onnx-decoder.test.fixture.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "onnx-source-"));
});
afterAll(() => rm(folder, { recursive: true }));

const base: TinyDecoder = {
  layers: 3,
  hidden: 8,
  norms: "written-out",
  residual: "sequential",
  past: "float32",
};
const rows = [
  [3, 1, 4, 1, 5],
  [9, 2, 6],
];

async function write(bytes: Uint8Array): Promise<string> {
  const file = join(folder, "model.onnx");
  await writeFile(file, bytes);
  return file;
}

/** The streams of the rows' tokens one after another, as a session that returns them gives them: one row at a time, no padding, no caches. */
async function expectedStreams(options: TinyDecoder): Promise<number[][]> {
  const session = await openSession(tinyOnnxDecoder({ ...options, past: false }, true));
  const names = Array.from({ length: options.layers + 1 }, (_, l) => `stream.${l}`);
  const streams: number[][] = names.map(() => []);
  for (const row of rows) {
    const long = (values: number[]) =>
      onnxTensor("int64", BigInt64Array.from(values, BigInt), [1, row.length]);
    const feeds = {
      input_ids: long(row),
      attention_mask: long(row.map(() => 1)),
      position_ids: long(row.map((_, i) => i)),
    };
    const result = await session.run(feeds, names);
    names.forEach((name, l) => {
      streams[l].push(...(result[name].data as Float32Array));
    });
  }
  await session.close();
  return streams;
}

async function capturedStreams(
  file: string,
  options?: Parameters<typeof onnxSource>[1],
): Promise<number[][]> {
  const source = await onnxSource(file, options);
  const streams: number[][] = Array.from({ length: source.layerCount + 1 }, () => []);
  const only = (async function* () {
    yield tokenBatch(rows);
  })();
  for await (const { batch, residuals } of source.capture(only, ctx)) {
    rows.forEach((row, b) => {
      const from = b * batch.sequenceLength * source.hiddenSize;
      residuals.forEach((data, l) => {
        streams[l].push(...data.subarray(from, from + row.length * source.hiddenSize));
      });
    });
  }
  await source.close();
  return streams;
}

function expectClose(actual: number[][], expected: number[][]): void {
  expect(actual.map((s) => s.length)).toEqual(expected.map((s) => s.length));
  const worst = Math.max(...actual.flatMap((s, l) => s.map((x, i) => Math.abs(x - expected[l][i]))));
  expect(worst).toBeLessThan(1e-5);
}

describe("onnxSource", () => {
  it.each<[string, Partial<TinyDecoder>]>([
    ["written-out norms and caches", {}],
    ["written-out norms without caches", { past: false }],
    ["half-precision caches", { past: "float16" }],
    ["fused additions and norms", { norms: "fused" }],
    ["one addition per block", { residual: "parallel" }],
    ["one fused addition per block", { residual: "parallel", norms: "fused", layers: 4 }],
  ])("finds the stream of a decoder with %s, padding in the batch", async (_, change) => {
    const options = { ...base, ...change };
    const bytes = tinyOnnxDecoder(options);
    const file = await write(bytes);
    expectClose(await capturedStreams(file), await expectedStreams(options));
    expect(new Uint8Array(await readFile(file))).toEqual(bytes);
  });

  it("takes the user's word for where the stream is", async () => {
    const file = await write(tinyOnnxDecoder({ ...base, layers: 2 }));
    const expected = await expectedStreams({ ...base, layers: 2 });
    // By name, only the blocks before the last end in an addition called so.
    const tap = { block: "layer.1.input.sum", embeddings: "embedded" };
    expectClose(await capturedStreams(file, { tap }), expected.slice(0, 2));
    const middle = { block: "layer.{layer}.middle.sum" };
    const source = await onnxSource(file, { tap: middle });
    expect(source).toMatchObject({ layerCount: 2, hiddenSize: 8 });
    await source.close();
  });

  it("feeds captureActivations", async () => {
    const source = await onnxSource(await write(tinyOnnxDecoder(base)));
    const { layers, statistics } = await captureActivations(
      source,
      [tokenBatch(rows)],
      { pooling: "all" },
      ctx,
    );
    await source.close();
    expect(statistics.tokenCount).toBe(8);
    expect(layers.map(({ shape }) => shape)).toEqual([
      [8, 8],
      [8, 8],
      [8, 8],
    ]);
  });

  it("leaves the head out of what runs", async () => {
    const model = readOnnxModel(tinyOnnxDecoder(base), "model.onnx");
    const head = model.nodes.findIndex(({ outputs }) => outputs.includes("logits")) - 1;
    const shorter = readOnnxModel(model.tapped([{ node: 0, output: 0 }]), "tapped");
    expect(model.nodes[head].operator).toBe("MatMul");
    expect(shorter.nodes.map(({ operator }) => operator)).toEqual([model.nodes[0].operator, "Cast"]);
    expect(shorter.outputNames).toEqual(["tap.0"]);
  });

  it("refuses what it cannot read, find or fill", async () => {
    await expect(onnxSource(join(folder, "nowhere.onnx"))).rejects.toMatchObject({ code: "FILE_MISSING" });
    await expect(onnxSource(await write(new Uint8Array([255, 255, 1])))).rejects.toMatchObject({
      code: "ONNX_INVALID",
    });
    const file = await write(tinyOnnxDecoder(base));
    await expect(onnxSource(file, { tap: { block: "no.{layer}" } })).rejects.toMatchObject({
      code: "RESIDUAL_NOT_FOUND",
      got: "no value no.0",
    });
    const bare = { ...base, layers: 0 };
    await expect(onnxSource(await write(tinyOnnxDecoder(bare)))).rejects.toMatchObject({
      code: "RESIDUAL_NOT_FOUND",
    });
  });
});
