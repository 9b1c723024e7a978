import { chmod, mkdir, mkdtemp, readdir, rename, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openCheckpoint, writeCheckpoint } from "@layerfold/checkpoint";
import {
  type DType,
  decodeFloats,
  encodeFloats,
  firstOf,
  type TokenBatch,
  tokenBatch,
} from "@layerfold/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Decoder, openDecoder } from "./open-decoder.js";

const llama = fileURLToPath(new URL("../test/golden/architectures/llama/", import.meta.url));
const opt = fileURLToPath(new URL("../test/golden/architectures/opt/", import.meta.url));
const batch = tokenBatch([
  [5, 17, 3, 99, 4],
  [8, 1, 2],
]);

async function open(folder: string): Promise<Decoder> {
  const checkpoint = await openCheckpoint(folder);
  const decoder = await openDecoder(checkpoint, { threads: 1 });
  return {
    ...decoder,
    close: async () => {
      await decoder.close();
      await checkpoint.close();
    },
  };
}

async function logitsOf(folder: string): Promise<Float32Array> {
  const decoder = await open(folder);
  const { data } = await firstOf(decoder.logits([batch]));
  await decoder.close();
  return data;
}

describe("openDecoder", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "layerfold-graph-"));
  });
  afterAll(async () => {
    await chmod(join(folder, "snapshot"), 0o755);
    await rm(folder, { recursive: true });
  });

  it("reads shards behind links into other folders, and writes nothing to a read-only one", async () => {
    const checkpoint = await openCheckpoint(llama);
    const snapshot = join(folder, "snapshot");
    await writeCheckpoint(snapshot, {
      config: checkpoint.config,
      tensors: Array.from(checkpoint.tensors.values(), ({ name, dtype, shape }) => ({
        name,
        dtype,
        shape,
        bytes: () => checkpoint.readBytes(name),
      })),
      maxShardBytes: 100_000,
    });
    await checkpoint.close();
    const shards = (await readdir(snapshot)).filter((name) => name.endsWith(".safetensors"));
    expect(shards.length).toBeGreaterThan(2);
    // As in the hub's cache, names there say nothing; and here every second shard lies elsewhere still.
    for (const [index, name] of shards.entries()) {
      const blobs = join(folder, index % 2 ? "blobs" : "elsewhere/deep");
      await mkdir(blobs, { recursive: true });
      await rename(join(snapshot, name), join(blobs, `${index}`));
      await symlink(join(blobs, `${index}`), join(snapshot, name));
    }
    const before = await readdir(folder, { recursive: true });
    await chmod(snapshot, 0o555);
    expect(await logitsOf(snapshot)).toEqual(await logitsOf(llama));
    expect(await readdir(folder, { recursive: true })).toEqual(before);
  });

  it("lets no padded token reach a result", async () => {
    const decoder = await open(llama);
    const other: TokenBatch = { ...batch, inputIds: batch.inputIds.slice() };
    other.inputIds.fill(77, batch.sequenceLength + 3);
    for (const ask of ["logits", "tokenLogProbabilities", "lastLogits"] as const) {
      const [one, two] = [
        await firstOf<unknown>(decoder[ask]([other])),
        await firstOf<unknown>(decoder[ask]([batch])),
      ];
      expect(one).toEqual(two);
    }
    await decoder.close();
  });

  it("gives a row the same logits alone, beside others, and as the begin of itself", async () => {
    const decoder = await open(llama);
    const { vocabularySize } = decoder;
    const rows = [[8, 1, 2, 30, 31], [8], [8, 1, 2]];
    const together = (await firstOf(decoder.logits([tokenBatch(rows)]))).data;
    const first = together.subarray(0, 5 * vocabularySize);
    for (const [index, row] of rows.entries()) {
      const alone = (await firstOf(decoder.logits([tokenBatch([row])]))).data;
      const start = index * first.length;
      for (const other of [together.subarray(start, start + alone.length), first.subarray(0, alone.length)]) {
        expect(alone.reduce((most, x, i) => Math.max(most, Math.abs(x - other[i])), 0)).toBeLessThan(1e-5);
      }
    }
    await decoder.close();
  });

  it.each(["bfloat16", "float16"] as const)("runs %s weights as their exact values", async (dtype) => {
    const checkpoint = await openCheckpoint(llama);
    const write = (name: string, stored: DType) =>
      writeCheckpoint(join(folder, name), {
        config: checkpoint.config,
        tensors: Array.from(checkpoint.tensors.values(), ({ name, shape }) => ({
          name,
          dtype: stored,
          shape,
          bytes: async () => {
            const short = encodeFloats((await checkpoint.read(name)).data, dtype);
            return stored === dtype ? short : encodeFloats(decodeFloats(short, dtype), stored);
          },
        })),
      });
    await write(dtype, dtype);
    await write(`${dtype}-as-float32`, "float32");
    await checkpoint.close();
    expect(await logitsOf(join(folder, dtype))).toEqual(await logitsOf(join(folder, `${dtype}-as-float32`)));
  });

  it("refuses batches that make no sense", async () => {
    const decoder = await open(llama);
    const run = (changes: Partial<TokenBatch>) => firstOf(decoder.logits([{ ...batch, ...changes }]));
    await expect(run({ inputIds: new Int32Array(10).fill(160) })).rejects.toMatchObject({
      code: "TOKEN_OUT_OF_RANGE",
    });
    await expect(run({ lengths: Int32Array.of(5, 0) })).rejects.toMatchObject({ code: "BATCH_INVALID" });
    await expect(run({ lengths: Int32Array.of(5) })).rejects.toMatchObject({ code: "BATCH_INVALID" });
    await decoder.close();
  });

  it("refuses a sequence longer than the learned positions", async () => {
    const checkpoint = await openCheckpoint(opt);
    const decoder = await openDecoder(checkpoint, { threads: 1 });
    const most = checkpoint.architecture.maxPositionEmbeddings;
    const long = tokenBatch([new Int32Array(most + 1)]);
    const run = (batch: TokenBatch) => firstOf(decoder.tokenLogProbabilities([batch]));
    await expect(run(long)).rejects.toMatchObject({ code: "SEQUENCE_TOO_LONG" });
    expect(await run(tokenBatch([new Int32Array(most)]))).toHaveLength(most);
    await decoder.close();
    await checkpoint.close();
  });
});
