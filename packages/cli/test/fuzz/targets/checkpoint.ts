import { readdir, readFile } from "node:fs/promises";
import { contiguousData, firstOf, LayerfoldError, tokenBatch } from "@layerfold/core";
import { openDecoder } from "@layerfold/graph";
import type { FuzzTarget } from "../target.js";
import { modelFiles, tinyLlama, withCheckpoint } from "../tiny-model.js";

const golden = new URL("../../../../checkpoint/test/golden/configs/", import.meta.url);

/** Opens a checkpoint, looks at every block, and runs three tokens. */
async function openAndRun(folder: string): Promise<void> {
  await withCheckpoint(folder, async (checkpoint) => {
    for (const layer of checkpoint.architecture.blocks.keys()) await checkpoint.block(layer);
    const decoder = await openDecoder(checkpoint);
    try {
      const logits = contiguousData<Float32Array>(await firstOf(decoder.logits([tokenBatch([[1, 2, 3]])])));
      if (logits.length !== 3 * checkpoint.architecture.vocabularySize)
        throw new Error("logits of another size");
    } finally {
      await decoder.close();
    }
  });
}

/** config.json of every family, over weights that stay as they are. */
export const config: FuzzTarget = {
  id: "config",
  async starts(scratch) {
    const starts = [await modelFiles(scratch)];
    for (const name of (await readdir(golden)).sort()) {
      const given = JSON.parse(await readFile(new URL(name, golden), "utf8"));
      starts.push(await modelFiles(scratch, given));
    }
    return starts;
  },
  changes: (name) => name === "config.json",
  read: openAndRun,
};

/** The weights of a checkpoint: names, shapes, types, values. */
export const weights: FuzzTarget = {
  id: "weights",
  starts: async (scratch) => [await modelFiles(scratch)],
  changes: (name) => name.endsWith(".safetensors"),
  read: openAndRun,
};

/** model.safetensors.index.json over three shards. */
export const index: FuzzTarget = {
  id: "index",
  starts: async (scratch) => [await modelFiles(scratch, tinyLlama, { maxShardBytes: 10_000 })],
  changes: (name) => name.endsWith(".index.json"),
  async read(folder) {
    await withCheckpoint(folder, async (checkpoint) => {
      if (checkpoint.tensors.size !== 21) throw new LayerfoldError("TENSORS_OTHER", "tensors were lost");
      await checkpoint.fingerprint();
    });
  },
};
