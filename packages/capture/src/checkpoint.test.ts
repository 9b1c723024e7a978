import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { batchBySize, openCheckpoint, openTokenizer, readDocuments } from "@layerfold/checkpoint";
import { openDecoder } from "@layerfold/graph";
import { expect, it } from "vitest";
import { ctx } from "./capture.test.fixture.js";
import { captureActivations } from "./capture-activations.js";

const foldling = (path: string) =>
  fileURLToPath(new URL(`../../../models/foldling/${path}`, import.meta.url));

async function calibrationRows(count: number): Promise<number[][]> {
  const tokenizer = await openTokenizer(foldling("checkpoint"));
  const documents = await readDocuments(foldling("data/calibration.jsonl"));
  if (documents.kind !== "documents") throw new Error("the calibration file holds documents");
  return documents.texts.slice(0, count).map((text) => tokenizer.encode(text, { addSpecialTokens: true }));
}

it("gives the block influence that transformers gave on the same 64 documents", async () => {
  // models/foldling/train/measure.py: 1 − mean cosine(layer input, layer output) over tokens.
  const { block_influence: expected } = JSON.parse(await readFile(foldling("measurements.json"), "utf8"));
  const checkpoint = await openCheckpoint(foldling("checkpoint"));
  const source = await openDecoder(checkpoint);
  const batches = batchBySize(await calibrationRows(64), 4096).map(({ batch }) => batch);
  const { statistics, layers } = await captureActivations(source, batches, { pooling: "last" }, ctx);
  await source.close();
  await checkpoint.close();
  expect(layers[0].shape).toEqual([64, 128]);
  expect(expected).toHaveLength(statistics.layerCount);
  expected.forEach((influence: number, l: number) => {
    const depths = statistics.layerCount + 1;
    expect(1 - statistics.cosine.data[l * depths + l + 1]).toBeCloseTo(influence, 5);
  });
});

it("block by block gives what the whole model gives", async () => {
  const checkpoint = await openCheckpoint(foldling("checkpoint"));
  const whole = await openDecoder(checkpoint);
  const blocks = await openDecoder(checkpoint, { execution: "blocks" });
  const batches = batchBySize(await calibrationRows(6), 400).map(({ batch }) => batch);
  const [a, b] = [
    await captureActivations(whole, batches, { pooling: "all" }, ctx),
    await captureActivations(blocks, batches, { pooling: "all" }, ctx),
  ];
  await whole.close();
  await blocks.close();
  await checkpoint.close();
  // The stream holds values of several thousand beside values near 1: the scale of each layer's rounding is its largest value's.
  a.layers.forEach(({ data }, l) => {
    const largest = (of: (i: number) => number) =>
      data.reduce((max, _, i) => Math.max(max, Math.abs(of(i))), 0);
    expect(largest((i) => data[i] - b.layers[l].data[i]) / largest((i) => data[i])).toBeLessThan(1e-6);
  });
});
