import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Architecture, type BlockSpec, type Tensor, tensor } from "@layerfold/core";
import { afterEach, beforeEach, expect, it } from "vitest";
import { readBlock, writeBlock } from "./block-file.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "block-file-"));
});
afterEach(() => rm(folder, { recursive: true }));

it("gives a block back, and takes a file in which a single bit has changed for none", async () => {
  const file = join(folder, "0.safetensors");
  const spec = { type: "attention" } as BlockSpec;
  const architecture = { blocks: [spec, spec] } as unknown as Architecture;
  const tensors = new Map<string, Tensor>([
    ["mlp.down", tensor(Float32Array.of(1, 2, 3, 4), [2, 2])],
    ["mlp.norm", tensor(Float32Array.of(0.5), [1])],
  ]);
  expect(await readBlock(file, architecture)).toBeUndefined();
  await writeBlock(file, { layer: 1, type: "attention", spec, tensors });
  const block = await readBlock(file, architecture);
  expect(block?.layer).toBe(1);
  expect([...(block?.tensors.get("mlp.down")?.data ?? [])]).toEqual([1, 2, 3, 4]);

  const whole = await readFile(file);
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole);
    changed[at] ^= 1;
    await writeFile(file, changed);
    expect(await readBlock(file, architecture), `byte ${at}`).toBeUndefined();
  }
});
