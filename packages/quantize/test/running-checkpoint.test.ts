import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Checkpoint, openCheckpoint, randomTensors, writeCheckpoint } from "@layerfold/checkpoint";
import { contiguousData, firstOf, type RunContext, tokenBatch } from "@layerfold/core";
import { exportOnnx, openDecoder, openGenerator } from "@layerfold/graph";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { type OnnxTensor, onnxTensor, openSession } from "@layerfold/onnx";
import {
  dequantizeCheckpoint,
  quantizeCheckpoint,
  quantizedWeights,
  rtn,
  runningSummary,
  schemeOf,
} from "@layerfold/quantize";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tinyLlama as config } from "./tiny-llama.test.fixture.js";

const ctx: RunContext = { rng: seededRng(2), engine: portableEngine() };
const tokens = Int32Array.from({ length: 12 }, () => ctx.rng.integer(50));
const batch = tokenBatch([tokens]);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-running-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A random model, and the same with blocks in 4 bits and embedding (and, untied, head) in `bits`. */
async function models(name: string, tied: boolean, bits: 4 | 8): Promise<[Checkpoint, Checkpoint]> {
  const given = { ...config, tie_word_embeddings: tied };
  const dense = join(folder, `${name}-dense`);
  await writeCheckpoint(dense, { config: given, tensors: randomTensors(given, ctx.rng) });
  const checkpoint = await openCheckpoint(dense);
  const scheme = schemeOf("rtn-w4g32", { dtype: checkpoint.dtype });
  const embedding = rtn({ bits, groupSize: 32, scaleDtype: "bfloat16" });
  const out = join(folder, `${name}-quantized`);
  const { written, embeddingBytes } = await quantizeCheckpoint(
    checkpoint,
    undefined,
    out,
    { scheme, embedding },
    ctx,
  );
  // Codes, a bfloat16 scale per 32, and weight_shape.
  const one = 50 * 64 * (bits / 8) + 50 * 2 * 2 + 16;
  expect(embeddingBytes).toBe(tied ? one : 2 * one);
  expect(written.tensorBytes).toBeGreaterThan(embeddingBytes);
  return [checkpoint, await openCheckpoint(out)];
}

async function logitsOf(checkpoint: Checkpoint, options = {}): Promise<Float32Array> {
  const decoder = await openDecoder(checkpoint, options);
  const values = contiguousData(await firstOf(decoder.logits([batch])));
  await decoder.close();
  return values;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

describe("a model with its embedding in few bits", () => {
  it.each([
    [true, 8],
    [true, 4],
    [false, 4],
  ] as const)("tied %s, %i bits: runs as its dequantised copy does", async (tied, bits) => {
    const name = `embedding-${tied}-${bits}`;
    const [checkpoint, quantized] = await models(name, tied, bits);
    await dequantizeCheckpoint(quantized, join(folder, `${name}-again`), { dtype: "float32" }, ctx);
    const again = await openCheckpoint(join(folder, `${name}-again`));
    const weights = await quantizedWeights(quantized);
    expect(runningSummary(weights.values()).packed).toBe(tied ? 15 : 16);
    const packed = await logitsOf(quantized, { quantizedWeights: weights });
    const wanted = await logitsOf(again);
    // Logits of random weights are of size 0.1.
    expect(largestDifference(packed, wanted)).toBeLessThan(1e-5);
    expect(largestDifference(packed, await logitsOf(checkpoint))).toBeGreaterThan(1e-3);

    const generator = await openGenerator(quantized, { quantizedWeights: weights });
    const dense = await openGenerator(again);
    const texts = [];
    for (const one of [generator, dense]) {
      const text: number[] = [];
      for await (const token of one.generate(tokens, { maxNewTokens: 6 })) text.push(token);
      texts.push(text);
      await one.close();
    }
    expect(texts[0]).toEqual(texts[1]);
    for (const opened of [checkpoint, quantized, again]) await opened.close();
  });
});

it("files of GPTQ know no quantised embedding", async () => {
  const [checkpoint, quantized] = await models("refused", true, 4);
  const scheme = schemeOf("rtn-w4g32", { dtype: checkpoint.dtype, format: "gptq" });
  const out = join(folder, "nothing");
  const wish = { scheme, embedding: rtn({ bits: 4, groupSize: 32 }) };
  await expect(quantizeCheckpoint(checkpoint, undefined, out, wish, ctx)).rejects.toMatchObject({
    code: "QUANTIZATION_NOT_EXPRESSIBLE",
  });
  await checkpoint.close();
  await quantized.close();
});

it("runs a float8 checkpoint with block scales as its dense copy, and tells what it does not round", async () => {
  const shape = [64, 96];
  const name = "model.layers.1.mlp.down_proj.weight";
  const tensors = randomTensors(config, ctx.rng).filter((source) => source.name !== name);
  // Codes 0x30 to 0x37 are 0.5 to 0.9375; blocks of 48 × 64 leave an edge on both sides.
  const codes = Uint8Array.from({ length: 64 * 96 }, (_, i) => 0x30 + (i % 8));
  const scales = Float32Array.of(0.25, -0.5, 0.125, 1);
  const folderOf8 = join(folder, "float8");
  await writeCheckpoint(folderOf8, {
    config: {
      ...config,
      quantization_config: { quant_method: "fp8", weight_block_size: [48, 64], activation_scheme: "dynamic" },
    },
    tensors: [
      ...tensors,
      { name, dtype: "float8_e4m3", shape, bytes: () => codes },
      {
        name: `${name}_scale_inv`,
        dtype: "float32",
        shape: [2, 2],
        bytes: () => new Uint8Array(scales.buffer),
      },
    ],
  });
  const checkpoint = await openCheckpoint(folderOf8);
  const told: string[] = [];
  const weights = await quantizedWeights(
    checkpoint,
    (event) => event.type === "diagnostic" && told.push(event.code),
  );
  expect(told).toEqual(["ACTIVATIONS_NOT_QUANTIZED"]);
  await dequantizeCheckpoint(checkpoint, join(folder, "float8-dense"), {}, ctx);
  const dense = await openCheckpoint(join(folder, "float8-dense"));
  const expected = Array.from(codes, (code, i) => {
    const block = 2 * Math.floor(Math.floor(i / 96) / 48) + Math.floor((i % 96) / 64);
    return scales[block] * (0.5 + (code - 0x30) / 16);
  });
  expect([...(await dense.read(name)).data]).toEqual(expected);
  expect(
    largestDifference(await logitsOf(checkpoint, { quantizedWeights: weights }), await logitsOf(dense)),
  ).toBeLessThan(1e-5);
  await checkpoint.close();
  await dense.close();
});

describe("exportOnnx", () => {
  /** Logits of the exported decoder, the last two tokens one at a time through its cache. */
  async function exportedLogits(directory: string): Promise<Float32Array> {
    const session = await openSession(join(directory, "onnx", "model.onnx"), { threads: 1 });
    let past: Record<string, OnnxTensor> = Object.fromEntries(
      session.inputNames
        .filter((name) => name.startsWith("past_key_values."))
        .map((name) => [name, onnxTensor("float32", new Float32Array(0), [1, 2, 0, 16])]),
    );
    expect(Object.keys(past)).toHaveLength(4);
    const parts: Float32Array[] = [];
    for (const [from, to] of [
      [0, 10],
      [10, 11],
      [11, 12],
    ]) {
      const result = await session.run({
        input_ids: onnxTensor("int64", BigInt64Array.from(tokens.subarray(from, to), BigInt), [1, to - from]),
        attention_mask: onnxTensor("int64", new BigInt64Array(to).fill(1n), [1, to]),
        ...past,
      });
      parts.push(result.logits.data as Float32Array);
      past = Object.fromEntries(
        Object.keys(past).map((name) => [name, result[name.replace("past_key_values", "present")]]),
      );
    }
    await session.close();
    return Float32Array.from(parts.flatMap((part) => [...part]));
  }

  it("gives the decoder's logits through its cache: dense, and both operators of packed weights", async () => {
    const [dense, quantized] = await models("exported", true, 4);
    const weights = await quantizedWeights(quantized);
    for (const [name, checkpoint, options] of [
      ["dense", dense, {}],
      ["n-bits", quantized, { quantizedWeights: weights }],
      ["qdq", quantized, { quantizedWeights: weights, operator: "qdq" }],
    ] as const) {
      const { directory, weightBytes } = await exportOnnx(
        checkpoint,
        join(folder, `onnx-${name}`),
        options,
        ctx,
      );
      expect(weightBytes).toBeGreaterThan(0);
      const wanted = await logitsOf(checkpoint, "quantizedWeights" in options ? options : {});
      expect(largestDifference(await exportedLogits(directory), wanted)).toBeLessThan(1e-5);
    }
    await expect(exportOnnx(dense, join(folder, "onnx-dense"), {}, ctx)).rejects.toMatchObject({
      code: "OUTPUT_EXISTS",
    });
    await dense.close();
    await quantized.close();
  });
});
