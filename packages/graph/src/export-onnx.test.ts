import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "@layerfold/checkpoint";
import { elementCount } from "@layerfold/core";
import { type OnnxTensor, onnxTensor, openSession, readOnnxModel } from "@layerfold/onnx";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exportOnnx } from "./export-onnx.js";
import { openGenerator } from "./open-generator.js";

const root = fileURLToPath(new URL("../test/golden/", import.meta.url));
// Made by variants.py with transformers: greedy continuations.
const golden: Record<string, { prompt: number[]; tokens: number[] }> = JSON.parse(
  await readFile(`${root}greedy.json`, "utf8"),
).models;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-export-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Greedy continuations of a batch by an exported decoder alone, as a client of it makes them. */
async function continued(file: string, rows: readonly (readonly (number | null)[])[], count: number) {
  const { inputs } = readOnnxModel(await readFile(file), file);
  const session = await openSession(file, { threads: 1 });
  const int64 = (values: readonly (readonly number[])[]) =>
    onnxTensor("int64", BigInt64Array.from(values.flat(), BigInt), [values.length, values[0].length]);
  let past: Record<string, OnnxTensor> = {};
  for (const { name, shape } of inputs) {
    if (!name.startsWith("past_")) continue;
    const lengths = shape.map((n) => (n === "batch_size" ? rows.length : typeof n === "string" ? 0 : n));
    past[name] = onnxTensor("float32", new Float32Array(elementCount(lengths)), lengths);
  }
  let mask = rows.map((row) => row.map((id) => (id === null ? 0 : 1)));
  let ids = rows.map((row) => row.map((id) => id ?? 0));
  const out: number[][] = rows.map(() => []);
  for (let step = 0; step < count; step++) {
    const result = await session.run({ input_ids: int64(ids), attention_mask: int64(mask), ...past });
    const [, length, width] = result.logits.shape;
    const logits = result.logits.data as Float32Array;
    ids = rows.map((_, row) => {
      // The last column, be it padding or not.
      const at = ((row + 1) * length - 1) * width;
      const values = logits.subarray(at, at + width);
      return [values.indexOf(values.reduce((a, b) => Math.max(a, b)))];
    });
    ids.forEach(([id], row) => {
      out[row].push(id);
    });
    mask = mask.map((row) => [...row, 1]);
    past = Object.fromEntries(Object.keys(past).map((name) => [name, result[presentOf(name)]]));
  }
  await session.close();
  return out;
}

function presentOf(past: string): string {
  return past.replace(/^past(_key_values)?/, "present");
}

// Rotary and learned positions, an offset of them, windows, a soft cap, heads filled up with zeros, and states that are no keys.
it.each([
  "architectures/llama",
  "architectures/gpt2",
  "architectures/opt",
  "architectures/mistral",
  "architectures/gemma2",
  "variants/gemma3-head-20",
  "architectures/jamba",
])("%s: rows of a batch continue as if alone, padded on the left or on the right", async (model) => {
  const { prompt, tokens } = golden[model];
  const checkpoint = await openCheckpoint(`${root}${model}`);
  const { directory } = await exportOnnx(checkpoint, join(folder, model.replace("/", "-")), {}, {});
  const short = prompt.slice(2, 5);
  const generator = await openGenerator(checkpoint, { threads: 1 });
  const wanted: number[] = [];
  for await (const token of generator.generate(short, { maxNewTokens: tokens.length })) wanted.push(token);
  await generator.close();
  await checkpoint.close();

  const file = join(directory, "onnx", "model.onnx");
  const gap = (length: number) => Array<null>(length).fill(null);
  const left = [
    [...gap(4), ...short],
    [...gap(0), ...prompt],
  ];
  expect(await continued(file, left, tokens.length)).toEqual([wanted, tokens]);
  const mixed = [
    [...prompt, ...gap(2)],
    [...gap(2), ...prompt],
    [...short, ...gap(6)],
    [...gap(3), ...short, ...gap(3)],
  ];
  expect(await continued(file, mixed, tokens.length)).toEqual([tokens, tokens, wanted, wanted]);
});
