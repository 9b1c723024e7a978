import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import { type Tap, tokenBatch } from "@layerfold/core";
import { softwareGpu, writeTinyLlama } from "@layerfold/testkit";
import { beforeAll, describe, expect, it } from "vitest";
import { openDecoder } from "./open-decoder.js";
import { openGenerator } from "./open-generator.js";
import { openRunner } from "./open-runner.js";

// Without `allowFallback` a session opens only if no node of its graph is on the CPU.
const webgpu = { device: "webgpu", threads: 1 } as const;
const root = fileURLToPath(new URL("../test/golden/architectures/", import.meta.url));
const batch = tokenBatch([
  [5, 17, 3, 9, 4, 7, 2, 11, 6, 1, 8, 30],
  [8, 1, 2, 0, 7],
]);
const tolerance = 1e-3;

/** Largest difference at real tokens. */
function difference(got: Float32Array, wanted: Float32Array): number {
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

/** The whole decoder on both devices. */
async function agree(checkpoint: Checkpoint, allowFallback = false): Promise<void> {
  const [cpu, gpu] = [
    await openDecoder(checkpoint, { threads: 1 }),
    await openDecoder(checkpoint, { ...webgpu, allowFallback }),
  ];
  const wanted = await cpu.run(batch, { residuals: true, logits: true });
  const got = await gpu.run(batch, { residuals: true, logits: true });
  got.residuals!.forEach((stream, depth) => {
    expect(difference(stream, wanted.residuals![depth]), `stream ${depth}`).toBeLessThan(tolerance);
  });
  expect(difference(got.logits!.data, wanted.logits!.data), "logits").toBeLessThan(tolerance);
  const [scores, wantedScores] = [
    await gpu.tokenLogProbabilities(batch),
    await cpu.tokenLogProbabilities(batch),
  ];
  expect(difference(scores, wantedScores), "log-probabilities").toBeLessThan(tolerance);
  // The same again gives the same bits.
  expect((await gpu.run(batch, { residuals: true })).residuals).toEqual(got.residuals);
  await Promise.all([cpu.close(), gpu.close()]);
}

describe.skipIf(!softwareGpu())("on WebGPU, in software", () => {
  beforeAll(softwareGpu);

  // Plain, with norms of queries and keys, with windows and scaled embeddings, with learned positions, with experts.
  it.each(["llama", "qwen3", "gemma3_text", "gpt2", "mixtral"])(
    "%s gives the CPU's streams and logits, whole, block by block and token by token",
    async (model) => {
      const checkpoint = await openCheckpoint(`${root}${model}`);
      await agree(checkpoint);

      const [cpu, gpu] = [await openRunner(checkpoint, { threads: 1 }), await openRunner(checkpoint, webgpu)];
      const taps: Tap[] = ["attention.heads", "mlp.input"];
      let [wanted, got] = [await cpu.embed(batch), await gpu.embed(batch)];
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
    },
  );

  it.each(["bfloat16", "float16"] as const)("runs %s weights, tied ones too", async (dtype) => {
    const directory = await mkdtemp(join(tmpdir(), "layerfold-webgpu-"));
    try {
      await writeTinyLlama(directory, { dtype, tied: true, layerCount: 2 });
      const checkpoint = await openCheckpoint(directory);
      await agree(checkpoint);
      await checkpoint.close();
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("refuses Mamba, whose scan has no kernel there, unless it may fall back", async () => {
    const checkpoint = await openCheckpoint(`${root}jamba`);
    await expect(openDecoder(checkpoint, webgpu)).rejects.toMatchObject({
      code: "DEVICE_FALLBACK",
      reason: expect.stringContaining("Scan Scan_"),
    });
    await agree(checkpoint, true);
    await checkpoint.close();
  });
});
