import { describe, expect, it } from "vitest";
import { configOfGguf } from "./config-of-gguf.js";
import type { GgufFile, GgufTensor } from "./read-gguf.js";

const code = (wanted: string) => expect.objectContaining({ code: wanted });

/** A file without data; `rope` stands in rope_freqs.weight. */
function gguf(change: Record<string, unknown> = {}, rope?: number[]): GgufFile {
  const metadata: Record<string, unknown> = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 128,
    "llama.embedding_length": 32,
    "llama.feed_forward_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.layer_norm_rms_epsilon": Math.fround(1e-5),
    "tokenizer.ggml.bos_token_id": 1,
    ...change,
  };
  const tensors = new Map<string, GgufTensor>([
    ["token_embd.weight", { name: "token_embd.weight", shape: [10, 32], type: "F32" }],
    ["output.weight", { name: "output.weight", shape: [10, 32], type: "F32" }],
  ]);
  if (rope)
    tensors.set("rope_freqs.weight", { name: "rope_freqs.weight", shape: [rope.length], type: "F32" });
  return { metadata, tensors, read: async () => Float32Array.from(rope ?? []), close: async () => {} };
}

const configOf = async (...given: Parameters<typeof gguf>) =>
  (await configOfGguf(gguf(...given), "x.gguf")).config;

describe("configOfGguf", () => {
  it("fills in what the metadata leave out", async () => {
    expect(await configOf()).toMatchObject({
      num_key_value_heads: 4,
      head_dim: 8,
      vocab_size: 10,
      rms_norm_eps: 1e-5,
      rope_theta: 10_000,
      rope_scaling: null,
      tie_word_embeddings: false,
      bos_token_id: 1,
    });
    expect(await configOf()).not.toHaveProperty("pad_token_id");
  });

  it("names the rotary scaling", async () => {
    const scaled = (type: string) => ({
      "llama.rope.scaling.type": type,
      "llama.rope.scaling.factor": 4,
      "llama.rope.scaling.original_context_length": 32,
    });
    expect((await configOf(scaled("linear"))).rope_scaling).toEqual({ rope_type: "linear", factor: 4 });
    expect((await configOf(scaled("yarn"))).rope_scaling).toEqual({
      rope_type: "yarn",
      factor: 4,
      original_max_position_embeddings: 32,
    });
    await expect(configOf(scaled("spiral"))).rejects.toThrow(code("GGUF_ROPE"));
  });

  it("refuses rotary divisors that are not Llama 3.1's", async () => {
    await expect(configOf({}, [1, 1, 3, 8])).rejects.toThrow(code("GGUF_ROPE"));
    await expect(configOf({}, [1, 1])).rejects.toThrow(code("GGUF_ROPE"));
  });

  it.each<[string, string, Record<string, unknown>]>([
    ["an architecture that is not known", "GGUF_ARCHITECTURE", { "general.architecture": "mamba" }],
    [
      "experts where none are known",
      "GGUF_ARCHITECTURE",
      { "general.architecture": "qwen2", "qwen2.expert_count": 8 },
    ],
    ["a part of a split file", "GGUF_SPLIT", { "split.count": 3 }],
    ["a missing number", "GGUF_METADATA", { "llama.block_count": undefined }],
    ["a partial rotary embedding", "GGUF_METADATA", { "llama.rope.dimension_count": 4 }],
  ])("refuses %s", async (_, wanted, change) => {
    await expect(configOf(change)).rejects.toThrow(code(wanted));
  });
});
