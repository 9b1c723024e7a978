import { chmod, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { mountedCloningDisk, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "./open-checkpoint.js";
import { randomTensors } from "./random-tensors.js";
import type { TensorSource } from "./safetensors.js";
import { storedReader } from "./stored-reader.js";
import { writeCheckpoint } from "./write-checkpoint.js";

const config = {
  model_type: "llama",
  hidden_size: 128,
  intermediate_size: 512,
  num_attention_heads: 4,
  num_hidden_layers: 4,
  vocab_size: 1000,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
};
/** A layer and a half. */
const maxShardBytes = 800_000;

/** Writes a checkpoint in shards, then a copy of it in which one norm of the last layer is another; and what was read for that. */
async function copyBut(folder: string, changed: string) {
  const dense = join(folder, "dense");
  await writeCheckpoint(dense, { config, tensors: randomTensors(config, testContext(1).rng), maxShardBytes });
  for (const name of await readdir(dense)) await chmod(join(dense, name), 0o444);
  const checkpoint = await openCheckpoint(dense);
  const reader = storedReader();
  const read: string[] = [];
  const progress: number[] = [];
  const tensors = [...checkpoint.tensors.values()].map((stored): TensorSource => {
    const { name, dtype, shape, byteLength } = stored;
    if (name === changed) return { name, dtype, shape, bytes: () => new Uint8Array(byteLength) };
    return {
      name,
      dtype,
      shape,
      copyOf: stored,
      fill: (target, start) => {
        read.push(name);
        return reader.bytes(stored, target, start);
      },
    };
  });
  const out = join(folder, "out");
  await writeCheckpoint(
    out,
    { config, tensors, carryFrom: checkpoint, maxShardBytes },
    { report: (event) => event.type === "progress" && progress.push(event.done / event.total) },
  );
  const written = await openCheckpoint(out);
  for (const [name, { byteLength }] of checkpoint.tensors) {
    const wanted = name === changed ? new Uint8Array(byteLength) : await checkpoint.readBytes(name);
    expect(Buffer.compare(await written.readBytes(name), wanted)).toBe(0);
  }
  await written.close();
  await reader.close();
  await checkpoint.close();
  // A new file has a new file's rights.
  for (const name of await readdir(out)) {
    expect((await stat(join(out, name))).mode & 0o777).toBe(0o666 & ~process.umask());
  }
  expect(progress.at(-1)).toBe(1);
  expect([...progress].sort((a, b) => a - b)).toEqual(progress);
  return { dense, out, tensors: checkpoint.tensors, read };
}

const changed = "model.layers.3.input_layernorm.weight";

describe("a shard that does not change", () => {
  it("stays the file that it was, byte for byte", async () => {
    const folder = await mkdtemp(join(tmpdir(), "layerfold-clone-"));
    const { dense, out, tensors } = await copyBut(folder, changed);
    const files = (await readdir(dense)).filter((name) => name.endsWith(".safetensors"));
    expect((await readdir(out)).filter((name) => name.endsWith(".safetensors"))).toEqual(files);
    expect(files.length).toBeGreaterThan(2);
    for (const name of files) {
      const same = (await readFile(join(out, name))).equals(await readFile(join(dense, name)));
      expect(same).toBe(tensors.get(changed)!.file !== join(dense, name));
    }
    await rm(folder, { recursive: true });
  });

  it("is shared where the disk can, and nothing of it is read", async (context) => {
    const disk = mountedCloningDisk();
    if (!disk) return context.skip();
    try {
      const { tensors, read } = await copyBut(disk.folder, changed);
      const { file } = tensors.get(changed)!;
      const others = [...tensors.values()].filter(
        (stored) => stored.file === file && stored.name !== changed,
      );
      expect(read.sort()).toEqual(others.map(({ name }) => name).sort());
      expect((await readdir(disk.folder)).sort()).toEqual(["dense", "out"]);
    } finally {
      disk.unmount();
    }
  });
});
