import { readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import { firstOf, type Tap, tokenBatch } from "@layerfold/core";
import { softwareGpu, writeTinyLlama } from "@layerfold/testkit";
import { beforeAll, describe, expect, it } from "vitest";
import { type Decoder, type DecoderOptions, openDecoder } from "./open-decoder.js";
import { openGenerator } from "./open-generator.js";
import { openRunner } from "./open-runner.js";

// Without `allowFallback` a session opens only if no node of its graph is on the CPU.
const webgpu = { device: "webgpu", threads: 1 } as const;
const root = fileURLToPath(new URL("../test/golden/", import.meta.url));
const short = tokenBatch([
  [5, 17, 3, 9, 4, 7, 2, 11, 6, 1, 8, 30],
  [8, 1, 2, 0, 7],
]);
const tolerance = 1e-3;

/** Largest difference at real tokens. */
function difference(got: Float32Array, wanted: Float32Array, batch = short): number {
  expect(got.length).toBe(wanted.length);
  const width = got.length / (batch.batchSize * batch.sequenceLength);
  let largest = 0;
  batch.lengths.forEach((length, row) => {
    for (let i = 0; i < length * width; i++) {
      const at = row * batch.sequenceLength * width + i;
      const distance = Math.abs(got[at] - wanted[at]);
      if (!(distance <= largest)) largest = distance;
    }
  });
  return largest;
}

/** A decoder on both devices. */
async function agree(checkpoint: Checkpoint, options: DecoderOptions = {}, batch = short): Promise<void> {
  const [cpu, gpu] = [
    await openDecoder(checkpoint, { threads: 1 }),
    await openDecoder(checkpoint, { ...webgpu, ...options }),
  ];
  const streams = async (decoder: Decoder) => (await firstOf(decoder.capture([batch], {}))).residuals;
  const [wanted, got] = [await streams(cpu), await streams(gpu)];
  got.forEach((stream, depth) => {
    expect(difference(stream, wanted[depth], batch), `stream ${depth}`).toBeLessThan(tolerance);
  });
  const logits = async (decoder: Decoder) => (await firstOf(decoder.logits([batch]))).data;
  expect(difference(await logits(gpu), await logits(cpu), batch), "logits").toBeLessThan(tolerance);
  const scores = (decoder: Decoder) => firstOf(decoder.tokenLogProbabilities([batch]));
  expect(difference(await scores(gpu), await scores(cpu), batch), "log-probabilities").toBeLessThan(
    tolerance,
  );
  // The same again gives the same bits.
  expect(await streams(gpu)).toEqual(got);
  await Promise.all([cpu.close(), gpu.close()]);
}

describe.skipIf(!softwareGpu())("on WebGPU, in software", () => {
  beforeAll(softwareGpu);

  // Plain, with norms of queries and keys, windows and scaled embeddings, a softcap, learned positions, experts.
  // LAYERFOLD_FAMILIES=all: all that have kernels for it, which takes minutes.
  const models =
    process.env.LAYERFOLD_FAMILIES === "all"
      ? readdirSync(`${root}architectures`).filter((name) => name !== "jamba")
      : ["llama", "qwen3", "gemma3_text", "gemma2", "gpt2", "mixtral"];
  it.each([...models.map((name) => `architectures/${name}`), "variants/gemma2-head-24"])(
    "%s gives the CPU's streams and logits",
    async (model) => {
      const checkpoint = await openCheckpoint(`${root}${model}`);
      await agree(checkpoint);
      await checkpoint.close();
    },
  );

  it("llama gives them block by block too", async () => {
    const checkpoint = await openCheckpoint(`${root}architectures/llama`);
    await agree(checkpoint, { execution: "blocks" });
    await checkpoint.close();
  });

  it("runs a runner's blocks, with taps, and token by token", async () => {
    const checkpoint = await openCheckpoint(`${root}architectures/llama`);
    const [cpu, gpu] = [await openRunner(checkpoint, { threads: 1 }), await openRunner(checkpoint, webgpu)];
    const taps: Tap[] = ["attention.heads", "mlp.input"];
    let [wanted, got] = [await cpu.embed(short), await gpu.embed(short)];
    for (let layer = 0; layer < cpu.layerCount; layer++) {
      const dense = await cpu.runBlock(layer, wanted, { taps });
      const ours = await gpu.runBlock(layer, got, { taps });
      for (const tap of taps) {
        const [a, b] = [ours, dense].map((ran) => ran.taps.get(tap)!.data as Float32Array);
        expect(difference(a, b), `${tap} ${layer}`).toBeLessThan(tolerance);
      }
      [wanted, got] = [dense.hidden, ours.hidden];
      expect(difference(got.states.data as Float32Array, wanted.states.data as Float32Array)).toBeLessThan(
        tolerance,
      );
    }
    await Promise.all([cpu.close(), gpu.close()]);

    const texts = [];
    for (const device of ["cpu", "webgpu"] as const) {
      const generator = await openGenerator(checkpoint, { device, threads: 1 });
      const text = [];
      for await (const token of generator.generate([5, 17, 3], { maxNewTokens: 6 })) text.push(token);
      texts.push(text);
      await generator.close();
    }
    expect(texts[1]).toEqual(texts[0]);
    await checkpoint.close();
  });

  it.each(["bfloat16", "float16"] as const)(
    "runs %s weights, tied ones too, over 100 tokens",
    async (dtype) => {
      const directory = await mkdtemp(join(tmpdir(), "layerfold-webgpu-"));
      try {
        await writeTinyLlama(directory, { dtype, tied: true, layerCount: 2 });
        const checkpoint = await openCheckpoint(directory);
        // Fused attention was seen to go wrong behind 64 tokens only.
        const long = Array.from(
          { length: 100 },
          (_, i) => (7 * i + (i >> 3)) % checkpoint.architecture.vocabularySize,
        );
        await agree(checkpoint, {}, tokenBatch([long, long.slice(20)]));
        await checkpoint.close();
      } finally {
        await rm(directory, { recursive: true });
      }
    },
  );

  it("refuses Mamba, whose scan has no kernel there, unless it may fall back", async () => {
    const checkpoint = await openCheckpoint(`${root}architectures/jamba`);
    await expect(openDecoder(checkpoint, webgpu)).rejects.toMatchObject({
      code: "DEVICE_FALLBACK",
      reason: expect.stringContaining("Scan Scan_"),
    });
    await agree(checkpoint, { allowFallback: true });
    await checkpoint.close();
  });
});
