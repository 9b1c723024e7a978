import { fileURLToPath } from "node:url";
import { openCheckpoint, openSafetensors } from "@layerfold/checkpoint";
import { firstOf, tokenBatch } from "@layerfold/core";
import { expect, it } from "vitest";
import { openDecoder } from "./open-decoder.js";

const foldling = fileURLToPath(new URL("../../../models/foldling/", import.meta.url));

it("runs foldling as transformers does, its prompts side by side in one padded batch", async () => {
  const checkpoint = await openCheckpoint(`${foldling}checkpoint`);
  const golden = await openSafetensors(`${foldling}golden/golden.safetensors`);
  const prompts = [0, 1, 2, 3];
  const ids = await Promise.all(
    prompts.map(async (prompt) => {
      const bytes = await golden.readBytes(`prompt${prompt}.input_ids`);
      return new Int32Array(new Uint8Array(bytes).buffer);
    }),
  );
  const batch = tokenBatch(ids);
  const decoder = await openDecoder(checkpoint);
  const { residuals } = await firstOf(decoder.capture([batch], {}));
  const logits = await firstOf(decoder.logits([batch]));
  let largest = 0;
  for (const prompt of prompts) {
    const length = ids[prompt].length;
    const compare = (got: Float32Array, wanted: Float32Array, width: number) => {
      const start = prompt * batch.sequenceLength * width;
      for (let i = 0; i < length * width; i++)
        largest = Math.max(largest, Math.abs(got[start + i] - wanted[i]));
    };
    // [depth, token, hidden]
    const streams = (await golden.read(`prompt${prompt}.hidden_states`)).data;
    residuals.forEach((stream, depth) => {
      const size = length * decoder.hiddenSize;
      compare(stream, streams.subarray(depth * size, (depth + 1) * size), decoder.hiddenSize);
    });
    compare(logits.data, (await golden.read(`prompt${prompt}.logits`)).data, decoder.vocabularySize);
  }
  expect(residuals).toHaveLength(17);
  expect(largest).toBeGreaterThan(0);
  expect(largest).toBeLessThanOrEqual(2e-4);
  await Promise.all([decoder.close(), golden.close(), checkpoint.close()]);
});
