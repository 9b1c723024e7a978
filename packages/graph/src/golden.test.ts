import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { openCheckpoint, openSafetensors } from "@layerfold/checkpoint";
import { firstOf, type LanguageModel, type TokenBatch } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { openDecoder } from "./open-decoder.js";
import { openRunner } from "./open-runner.js";
import { runnerModel } from "./runner-model.js";

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

  it.each([
    ["whole", {}],
    ["block by block", { execution: "blocks" as const }],
  ])("gives transformers' residual streams and logits, %s", async (_, options) => {
    const { checkpoint, batch, residuals, logits } = await golden(model);
    const decoder = await openDecoder(checkpoint, { threads: 1, ...options });
    const captured = await firstOf(decoder.capture([batch], {}));
    captured.residuals.forEach((stream, depth) => {
      expect(difference(batch, stream, residuals[depth]), `stream ${depth}`).toBeLessThanOrEqual(tolerance);
    });
    const found = await firstOf(decoder.logits([batch]));
    expect(difference(batch, found.data, logits), "logits").toBeLessThanOrEqual(tolerance);
    expect(largestAtPadding(batch, found.data)).toBe(0);
    await agree(decoder, batch, logits, tolerance);
    await decoder.close();
    await checkpoint.close();
  });

  it("gives them with the vocabulary projection in slices", async () => {
    const { checkpoint, batch, logits } = await golden(model);
    const { architecture, tensors } = checkpoint;
    const [vocabulary, width] = tensors.get(architecture.head.weight)!.shape;
    const headBytes = 4 * width * Math.ceil(vocabulary / 3.5);
    const runner = await openRunner(checkpoint, { threads: 1, headBytes });
    const sliced = runnerModel(runner, { streamBytes: 0 });
    const found = await firstOf(sliced.logits([batch]));
    expect(difference(batch, found.data, logits), "logits").toBeLessThanOrEqual(tolerance);
    await agree(sliced, batch, logits, tolerance);
    await runner.close();
    await checkpoint.close();
  });
});

/** Log-probabilities and last logits are those of the golden logits. */
async function agree(
  model: LanguageModel,
  batch: TokenBatch,
  golden: Float32Array,
  tolerance: number,
): Promise<void> {
  const { vocabularySize } = model;
  const { sequenceLength, lengths } = batch;
  const scores = await firstOf(model.tokenLogProbabilities([batch]));
  const last = await firstOf(model.lastLogits([batch]));
  lengths.forEach((length, row) => {
    for (let position = 0; position < sequenceLength; position++) {
      const at = row * sequenceLength + position;
      const logits = golden.subarray(at * vocabularySize, (at + 1) * vocabularySize);
      if (position >= length - 1) expect(scores[at]).toBe(0);
      else {
        const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
        const wanted = logits[batch.inputIds[at + 1]] - Math.log(sum);
        expect(Math.abs(scores[at] - wanted)).toBeLessThanOrEqual(2 * tolerance);
      }
      if (position !== length - 1) continue;
      const got = last.data.subarray(row * vocabularySize, (row + 1) * vocabularySize);
      const largest = got.reduce((most, logit, id) => Math.max(most, Math.abs(logit - logits[id])), 0);
      expect(largest).toBeLessThanOrEqual(tolerance);
    }
  });
}

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
