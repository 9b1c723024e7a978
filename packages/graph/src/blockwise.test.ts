import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Checkpoint, openCheckpoint, randomTensors, writeCheckpoint } from "@layerfold/checkpoint";
import { type ActivationSource, type ProgressEvent, tokenBatch } from "@layerfold/core";
import { testContext } from "@layerfold/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openDecoder } from "./open-decoder.js";
import { openRunner } from "./open-runner.js";
import { runnerModel } from "./runner-model.js";

// Blocks of 17 MB as float32: large enough to be read in a thread.
const config = {
  ...{ model_type: "llama", architectures: ["LlamaForCausalLM"], hidden_act: "silu", rms_norm_eps: 1e-5 },
  ...{ hidden_size: 512, intermediate_size: 2048, num_attention_heads: 8, num_key_value_heads: 8 },
  ...{ num_hidden_layers: 4, vocab_size: 300, max_position_embeddings: 64, tie_word_embeddings: false },
};
const rows = [40, 17, 33, 40, 5].map((length, row) =>
  Int32Array.from({ length }, (_, i) => (i * 31 + row * 7) % config.vocab_size),
);
const batches = [tokenBatch(rows.slice(0, 3)), tokenBatch(rows.slice(3))];

describe("a model that runs block by block", () => {
  let folder: string;
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "layerfold-blockwise-"));
    const tensors = randomTensors(config, testContext(1).rng, "bfloat16");
    await writeCheckpoint(join(folder, "model"), { config, tensors });
    checkpoint = await openCheckpoint(join(folder, "model"));
  });
  afterAll(async () => {
    await checkpoint.close();
    rmSync(folder, { recursive: true });
  });

  it("gives the whole model's streams and scores, with streams in memory and on disk", async () => {
    const whole = await openDecoder(checkpoint);
    const runner = await openRunner(checkpoint, { cacheBytes: 0, headBytes: 0 });
    for (const streamBytes of [0, 2 ** 17, 2 ** 28]) {
      const blocks = runnerModel(runner, { streamBytes });
      const scores = blocks.tokenLogProbabilities(batches)[Symbol.asyncIterator]();
      for await (const expected of whole.tokenLogProbabilities(batches)) {
        expect(largest((await scores.next()).value, expected)).toBeLessThan(1e-5);
      }
      expect((await scores.next()).done).toBe(true);
      const [expected, found] = [await captured(whole), await captured(blocks)];
      expected.forEach((stream, depth) => {
        expect(found[depth]).toHaveLength(stream.length);
        expect(largest(found[depth], stream)).toBeLessThan(1e-5);
      });
    }
    await runner.close();
    await whole.close();
  });

  it("reads every block once for all batches, tells how far it is, and stops when asked", async () => {
    const read: number[] = [];
    const runner = await openRunner(checkpoint, { cacheBytes: 0 });
    const watched = {
      ...runner,
      runBlock: (...[layer, ...rest]: Parameters<typeof runner.runBlock>) => {
        if (read.at(-1) !== layer) read.push(layer);
        return runner.runBlock(layer, ...rest);
      },
    };
    const model = runnerModel(watched);
    const events: ProgressEvent[] = [];
    const report = (event: { type: string }) => void events.push(event as ProgressEvent);
    for await (const _ of model.lastLogits(batches, { report })) void _;
    expect(read).toEqual([0, 1, 2, 3]);
    expect(events.map(({ done }) => done)).toEqual([1, 2, 3, 4]);
    const signal = AbortSignal.abort();
    const stopped = model.lastLogits(batches, { signal })[Symbol.asyncIterator]().next();
    await expect(stopped).rejects.toMatchObject({ code: "INTERRUPTED" });
    await runner.close();
  });

  it("keeps what it lent for longer out of the memory that it uses again", async () => {
    const runner = await openRunner(checkpoint, { cacheBytes: 0 });
    const kept = await runner.block(0);
    const before = Float32Array.from(kept.tensors.get("mlp.up")!.data);
    let hidden = await runner.embed(batches[0]);
    for (let pass = 0; pass < 2; pass++) {
      for (let layer = 0; layer < 4; layer++) ({ hidden } = await runner.runBlock(layer, hidden));
    }
    expect(largest(kept.tensors.get("mlp.up")!.data, before)).toBe(0);
    await runner.close();
  });
});

/** The streams of all batches' rows behind one another, by depth. */
async function captured(source: ActivationSource): Promise<number[][]> {
  const depths = Array.from({ length: source.layerCount + 1 }, (): number[] => []);
  for await (const { residuals } of source.capture(batches, {})) {
    residuals.forEach((stream, depth) => void depths[depth].push(...stream));
  }
  return depths;
}

function largest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
  return most;
}
