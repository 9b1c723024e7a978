import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint, openSafetensors } from "@layerfold/checkpoint";
import type { TokenBatch } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { openDecoder } from "./open-decoder.js";
import { openRunner } from "./open-runner.js";
import { runnerLanguageModel } from "./runner-language-model.js";

// transformers 5.18 on torch 2.13: the residual streams and logits of tiny random models, one row of two padded on the right.
// variants/ is made by variants.py.
const root = fileURLToPath(new URL("../test/golden/", import.meta.url));
const models = ["architectures", "variants"].flatMap((kind) =>
  readdirSync(`${root}${kind}`).map((name) => `${kind}/${name}`),
);

async function golden(model: string) {
  const checkpoint = await openCheckpoint(`${root}${model}`);
  const file = await openSafetensors(`${root}${model}/expected.safetensors`);
  const integers = async (name: string) => {
    const bytes = await file.readBytes(name);
    return Int32Array.from(new BigInt64Array(new Uint8Array(bytes).buffer), Number);
  };
  const [batchSize, sequenceLength] = file.tensors.get("input_ids")!.shape;
  const mask = await integers("attention_mask");
  const batch: TokenBatch = {
    batchSize,
    sequenceLength,
    inputIds: await integers("input_ids"),
    lengths: Int32Array.from({ length: batchSize }, (_, row) =>
      mask.subarray(row * sequenceLength, (row + 1) * sequenceLength).reduce((a, b) => a + b),
    ),
  };
  const residuals: Float32Array[] = [];
  for (let depth = 0; depth <= checkpoint.architecture.blocks.length; depth++) {
    residuals.push((await file.read(`resid.${depth}`)).data);
  }
  const logits = (await file.read("logits")).data;
  await file.close();
  return { checkpoint, batch, residuals, logits };
}

/** Largest difference at real tokens. */
function difference(batch: TokenBatch, got: Float32Array, wanted: Float32Array): number {
  expect(got.length).toBe(wanted.length);
  const width = got.length / (batch.batchSize * batch.sequenceLength);
  let largest = 0;
  for (let i = 0; i < got.length; i++) {
    const position = Math.floor(i / width);
    const real = position % batch.sequenceLength < batch.lengths[Math.floor(position / batch.sequenceLength)];
    if (real && !(Math.abs(got[i] - wanted[i]) <= largest)) largest = Math.abs(got[i] - wanted[i]);
  }
  return largest;
}

const tolerances: Record<string, number> = {
  "architectures/llama": 1e-4,
  "architectures/llama-tied-bias": 1e-4,
  "architectures/llama3-rope": 1e-4,
  "architectures/jamba": 1e-3,
};

describe.each(models)("%s", (model) => {
  const tolerance = tolerances[model] ?? 2e-4;

  it("gives transformers' residual streams and logits, whole and block by block", async () => {
    const { checkpoint, batch, residuals, logits } = await golden(model);
    const decoder = await openDecoder(checkpoint, { threads: 1 });
    const whole = await decoder.run(batch, { residuals: true, logits: true });
    whole.residuals!.forEach((stream, depth) => {
      expect(difference(batch, stream, residuals[depth]), `stream ${depth}`).toBeLessThanOrEqual(tolerance);
    });
    expect(difference(batch, whole.logits!.data, logits), "logits").toBeLessThanOrEqual(tolerance);
    expect(largestAtPadding(batch, whole.logits!.data)).toBe(0);

    const runner = await openRunner(checkpoint, { threads: 1, cacheBytes: 0 });
    let hidden = await runner.embed(batch);
    for (let depth = 0; ; depth++) {
      const name = `stream ${depth}, block by block`;
      expect(difference(batch, hidden.states.data, residuals[depth]), name).toBeLessThanOrEqual(tolerance);
      if (depth === runner.layerCount) break;
      hidden = (await runner.runBlock(depth, hidden)).hidden;
    }
    const head = await runner.head(hidden);
    expect(difference(batch, head.data, logits), "logits, block by block").toBeLessThanOrEqual(tolerance);

    await agree(checkpoint, batch, logits);
    await Promise.all([decoder.close(), runner.close()]);
    await checkpoint.close();

    /** Log-probabilities and last logits are those of the golden logits, from either form. */
    async function agree(
      { architecture }: Checkpoint,
      { sequenceLength, lengths }: TokenBatch,
      rows: Float32Array,
    ) {
      const { vocabularySize } = architecture;
      const byBlock = runnerLanguageModel(runner);
      for (const model of [decoder, byBlock]) {
        const scores = await model.tokenLogProbabilities(batch);
        const last = await model.lastLogits(batch);
        lengths.forEach((length, row) => {
          for (let position = 0; position < sequenceLength; position++) {
            const at = row * sequenceLength + position;
            const logits = rows.subarray(at * vocabularySize, (at + 1) * vocabularySize);
            if (position >= length - 1) expect(scores[at]).toBe(0);
            else {
              const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
              const wanted = logits[batch.inputIds[at + 1]] - Math.log(sum);
              expect(Math.abs(scores[at] - wanted)).toBeLessThanOrEqual(2 * tolerance);
            }
            if (position === length - 1) {
              const got = last.data.subarray(row * vocabularySize, (row + 1) * vocabularySize);
              const largest = got.reduce(
                (most, logit, id) => Math.max(most, Math.abs(logit - logits[id])),
                0,
              );
              expect(largest).toBeLessThanOrEqual(tolerance);
            }
          }
        });
      }
    }
  });
});

function largestAtPadding({ sequenceLength, lengths }: TokenBatch, values: Float32Array): number {
  const width = values.length / (lengths.length * sequenceLength);
  return Math.max(
    0,
    ...Array.from(lengths).flatMap((length, row) =>
      Array.from(
        values.subarray((row * sequenceLength + length) * width, (row + 1) * sequenceLength * width),
        Math.abs,
      ),
    ),
  );
}
