import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeFloats } from "@layerfold/core";
import { expect, it } from "vitest";
import { type TinyLlamaOptions, writeTinyLlama } from "./tiny-llama.js";

async function written(options: TinyLlamaOptions) {
  const directory = await mkdtemp(join(tmpdir(), "tiny-llama-"));
  try {
    await writeTinyLlama(directory, options);
    const bytes = await readFile(join(directory, "model.safetensors"));
    const size = (await stat(join(directory, "model.safetensors"))).size;
    const headerLength = Number(bytes.readBigUInt64LE());
    const { __metadata__, ...tensors } = JSON.parse(bytes.subarray(8, 8 + headerLength).toString());
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    return { config, tensors, __metadata__, data: bytes.subarray(8 + headerLength), headerLength, size };
  } finally {
    await rm(directory, { recursive: true });
  }
}

it("tiles the file without holes, aligned, and says what it is", async () => {
  const { tensors, __metadata__, data, headerLength } = await written({ attentionBias: true, mlpBias: true });
  expect(__metadata__).toEqual({ format: "pt" });
  expect(headerLength % 8).toBe(0);
  let end = 0;
  for (const { data_offsets, shape } of Object.values(tensors) as {
    data_offsets: number[];
    shape: number[];
  }[]) {
    expect(data_offsets).toEqual([end, end + 4 * shape.reduce((a, b) => a * b, 1)]);
    end = data_offsets[1];
  }
  expect(end).toBe(data.length);
});

it("counts parameters as Llama does", async () => {
  const options = {
    layerCount: 3,
    hiddenSize: 24,
    intermediateSize: 40,
    headCount: 6,
    keyValueHeadCount: 2,
    vocabularySize: 50,
  };
  const block = 2 * 24 * 24 + 2 * 8 * 24 + 3 * 24 * 40 + 2 * 24;
  const tied = await written({ ...options, tied: true, dtype: "bfloat16" });
  expect(tied.data.length).toBe(2 * (50 * 24 + 24 + 3 * block));
  expect(tied.tensors["lm_head.weight"]).toBeUndefined();
  const untied = await written(options);
  expect(untied.data.length).toBe(4 * (2 * 50 * 24 + 24 + 3 * block));
  expect(untied.config).toMatchObject({ num_hidden_layers: 3, num_key_value_heads: 2, head_dim: 4 });
});

it("fills every tensor with finite numbers that depend on the seed", async () => {
  const [a, b, c] = await Promise.all([written({ seed: 1 }), written({ seed: 1 }), written({ seed: 2 })]);
  expect(a.data.equals(b.data)).toBe(true);
  expect(a.data.equals(c.data)).toBe(false);
  const values = decodeFloats(new Uint8Array(a.data), "float32");
  expect(values.every((v) => Number.isFinite(v) && v !== 0)).toBe(true);
});

it("refuses heads that do not fit", async () => {
  await expect(written({ headCount: 5 })).rejects.toMatchObject({ code: "TINY_LLAMA_SHAPE" });
  await expect(written({ headCount: 4, keyValueHeadCount: 3 })).rejects.toMatchObject({
    code: "TINY_LLAMA_SHAPE",
  });
});
