import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../open-checkpoint.js";
import { openTokenizer } from "../tokenizer.js";
import { importGguf } from "./import-gguf.js";
import { tensorHashes } from "./tensor-hashes.test.fixture.js";

const golden = fileURLToPath(new URL("../../test/golden/", import.meta.url));
const code = (wanted: string) => expect.objectContaining({ code: wanted });
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-gguf-"));
});
afterAll(() => rm(folder, { recursive: true }));

const rows: { file: string; tensors: Record<string, string>; samples: [string, number[]][] }[] = JSON.parse(
  await readFile(join(golden, "gguf.json"), "utf8"),
);

describe.each(rows)("$file", ({ file, tensors, samples }) => {
  const out = () => join(folder, file);
  beforeAll(() => importGguf(join(golden, file), out()));

  it("comes out with the reference's float32 in every tensor, in transformers' order", async () => {
    const checkpoint = await openCheckpoint(out());
    const hashes = await tensorHashes(checkpoint);
    await checkpoint.close();
    expect(hashes).toEqual(tensors);
  });

  it("has a tokenizer with the reference's ids", async () => {
    const tokenizer = await openTokenizer(out());
    for (const [text, ids] of samples) {
      expect(tokenizer.encode(text, { addSpecialTokens: true })).toEqual(ids);
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
    }
  });
});

it("rebuilds the config", async () => {
  const read = async (name: string) => JSON.parse(await readFile(join(folder, name, "config.json"), "utf8"));
  expect(await read("llama.gguf")).toEqual({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 16,
    hidden_act: "silu",
    vocab_size: 320,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    rope_theta: 500_000,
    rope_scaling: {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 1,
    attention_bias: false,
    mlp_bias: false,
    dtype: "float32",
  });
  expect(await read("qwen3.gguf")).toMatchObject({
    model_type: "qwen3",
    attention_bias: true,
    tie_word_embeddings: false,
    rope_scaling: null,
    bos_token_id: 1,
  });
  expect((await openTokenizer(join(folder, "llama.gguf"))).chatTemplate).toBe("{{ messages }}");
});

it("writes half precision on demand", async () => {
  await importGguf(join(golden, "llama.gguf"), join(folder, "half"), { dtype: "bfloat16" });
  const checkpoint = await openCheckpoint(join(folder, "half"));
  expect(checkpoint.dtype).toBe("bfloat16");
  await checkpoint.close();
});

it("refuses a weight that the element type cannot hold, and names it", async () => {
  const bytes = await readFile(join(golden, "llama.gguf"));
  await importGguf(join(golden, "llama.gguf"), join(folder, "exact"));
  const norm = await openCheckpoint(join(folder, "exact"));
  const stored = Buffer.from(await norm.readBytes("model.norm.weight"));
  await norm.close();
  const at = bytes.indexOf(stored);
  expect(at).toBeGreaterThan(0);
  // The largest half is 65504.
  bytes.writeFloatLE(70_000, at + 4);
  await writeFile(join(folder, "large.gguf"), bytes);
  const out = join(folder, "large");
  await expect(importGguf(join(folder, "large.gguf"), out, { dtype: "float16" })).rejects.toMatchObject({
    code: "FLOAT_OVERFLOW",
    got: "70000 at index 1",
    where: "model.norm.weight",
  });
  expect(await readdir(folder)).not.toContain("large");
});

describe("bad input", () => {
  /** llama.gguf with a change, imported. */
  async function spoiled(change: (bytes: Buffer) => Buffer) {
    const path = join(folder, "spoiled.gguf");
    await writeFile(path, change(await readFile(join(golden, "llama.gguf"))));
    return importGguf(path, join(folder, "spoiled"));
  }
  const patched = (at: string, skip: number, value: number[]) => (bytes: Buffer) => {
    Buffer.from(value).copy(bytes, bytes.indexOf(at) + at.length + skip);
    return bytes;
  };

  it.each<[string, string, (bytes: Buffer) => Buffer]>([
    ["a wrong magic", "GGUF_INVALID", (bytes) => patched("GGUF", -4, [0x47, 0x47, 0x4d, 0x4c])(bytes)],
    ["an unknown version", "GGUF_INVALID", patched("GGUF", 0, [99])],
    ["an empty file", "GGUF_INVALID", () => Buffer.alloc(0)],
    // After a tensor's name: 4 bytes number of axes, 8 for its one length, then the type; 16 is IQ2_XXS.
    ["an unknown quantisation", "GGUF_TYPE_UNKNOWN", patched("output_norm.weight", 12, [16])],
    ["a tensor beyond the end", "GGUF_TRUNCATED", (bytes) => bytes.subarray(0, bytes.length - 100)],
    // After a key: 4 bytes type, 8 length, then the text.
    ["an unknown architecture", "GGUF_ARCHITECTURE", patched("general.architecture", 12, [0x78])],
    ["an unknown pre-tokenizer", "GGUF_TOKENIZER", patched("tokenizer.ggml.pre", 12, [0x78])],
    ["an unknown tokenizer", "GGUF_TOKENIZER", patched("tokenizer.ggml.model", 12, [0x78])],
    ["a tensor under another name", "TENSOR_MISSING", patched("blk.1.ffn_up", -1, [0x78])],
    // 2^30 layers and 2 layers' tensors: known before anything is built.
    [
      "a layer count beyond the number of tensors",
      "GGUF_METADATA",
      patched("llama.block_count", 4, [0, 0, 0, 64]),
    ],
    ["a layer count that the tensors do not bear out", "LAYER_MISSING", patched("llama.block_count", 4, [3])],
    ["tensors for which there is no place", "TENSOR_UNEXPECTED", patched("llama.block_count", 4, [1])],
  ])("refuses %s, and leaves no folder", async (_, wanted, change) => {
    await expect(spoiled(change)).rejects.toThrow(code(wanted));
    expect((await readdir(folder)).filter((name) => name.includes("spoiled"))).toEqual(["spoiled.gguf"]);
  });

  it("refuses an output folder that is not empty, and a file that is not there", async () => {
    await expect(importGguf(join(golden, "llama.gguf"), folder)).rejects.toThrow(code("OUTPUT_EXISTS"));
    await expect(importGguf(join(folder, "no.gguf"), join(folder, "new"))).rejects.toThrow(
      code("FILE_MISSING"),
    );
  });

  it("refuses a folder in the file's place, and a tensor of another shape", async () => {
    await mkdir(join(folder, "a folder.gguf"));
    await expect(importGguf(join(folder, "a folder.gguf"), join(folder, "new"))).rejects.toThrow(
      code("FILE_IS_FOLDER"),
    );
    // The key's 4 bytes of type follow, then the value: 4 key/value heads in place of 2.
    await expect(spoiled(patched("llama.attention.head_count_kv", 4, [4]))).rejects.toThrow(
      code("TENSOR_SHAPE"),
    );
  });

  it("is named as the way where a GGUF file is opened as a checkpoint, whatever it is called", async () => {
    const plain = join(folder, "weights");
    await writeFile(plain, await readFile(join(golden, "llama.gguf")));
    for (const path of [plain, join(golden, "llama.gguf")])
      await expect(openCheckpoint(path)).rejects.toThrow(/layerfold import/);
    await writeFile(plain, "something else");
    await expect(openCheckpoint(plain)).rejects.toThrow(code("CHECKPOINT_MISSING"));
    await expect(openCheckpoint(plain)).rejects.not.toThrow(/layerfold import/);
  });
});
