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

/** The same metadata under the name of an architecture with layer norms. */
function renamed(name: string): Record<string, unknown> {
  const { metadata } = gguf();
  const entries = Object.entries(metadata).map(([key, value]) => [key.replace(/^llama/, name), value]);
  return {
    ...Object.fromEntries(entries),
    "general.architecture": name,
    [`${name}.attention.layer_norm_epsilon`]: 1e-5,
  };
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
    ["heads that do not divide", "GGUF_METADATA", { "llama.attention.head_count": 3 }],
    ["more heads than any tensor holds", "GGUF_METADATA", { "llama.attention.key_length": 2 ** 31 }],
    ["values of another size than keys", "GGUF_METADATA", { "llama.attention.value_length": 4 }],
    ["more blocks than tensors", "GGUF_METADATA", { "llama.block_count": 5e6 }],
    ["another width than the embedding's", "GGUF_METADATA", { "llama.embedding_length": 64 }],
    ["half a head", "GGUF_METADATA", { "llama.attention.head_count": 2.5 }],
    ["a text for a number", "GGUF_METADATA", { "llama.feed_forward_length": "64" }],
    ["a base that is no number", "GGUF_METADATA", { "llama.rope.freq_base": Number.NaN }],
    ["a list that does not go with the blocks", "GGUF_METADATA", { "llama.attention.head_count_kv": [4] }],
    [
      "experts that are not there",
      "GGUF_METADATA",
      { "llama.expert_count": 1e9, "llama.expert_used_count": 2 },
    ],
    [
      "more of a head rotated than there is",
      "GGUF_METADATA",
      { ...renamed("stablelm"), "stablelm.rope.dimension_count": 2e9 },
    ],
  ])("refuses %s", async (_, wanted, change) => {
    await expect(configOf(change)).rejects.toThrow(code(wanted));
  });

  it("names the known ones where an architecture is not", async () => {
    await expect(configOf({ "general.architecture": "gemma4" })).rejects.toThrow(
      /Did you mean "gemma[23]"\?.*falcon, gemma2, gemma3, gpt2, gptneox, granite, jamba, llama, olmo2, phi2, phi3, qwen2/,
    );
  });

  it("finds the original length behind Llama 3.1's divisors", async () => {
    // head 8, base 10,000, factor 4, original length 300: frequencies 1, 0.1, 0.01, 0.001, so waves of 2π, 20π, 200π, 2000π. Those
    // up to 300/4 = 75 stay, those above 300 are divided by 4; 200π = 628 is above as well.
    const between = { "llama.rope.freq_base": 10_000 };
    await expect(configOf(between, [1, 1, 4, 4])).rejects.toThrow(code("GGUF_ROPE"));
    // Original length 1,000: 200π lies between 250 and 1,000; s = (1000 / 200π − 1) / 3, divisor 1 / ((1 − s) / 4 + s).
    const smooth = (1000 / (200 * Math.PI) - 1) / 3;
    const scaling = (await configOf(between, [1, 1, 1 / ((1 - smooth) / 4 + smooth), 4])).rope_scaling;
    expect(scaling).toMatchObject({ rope_type: "llama3", factor: 4, original_max_position_embeddings: 1000 });
  });

  it("keeps what YaRN's entries say, and a part of the head", async () => {
    const yarn = {
      "llama.rope.scaling.type": "yarn",
      "llama.rope.scaling.factor": 4,
      "llama.rope.scaling.original_context_length": 32,
      "llama.rope.scaling.yarn_attn_factor": 0.75,
      "llama.rope.scaling.yarn_beta_fast": 16,
      "llama.rope.scaling.yarn_beta_slow": 2,
    };
    expect((await configOf(yarn)).rope_scaling).toMatchObject({
      attention_factor: 0.75,
      beta_fast: 16,
      beta_slow: 2,
    });
    const half = { ...renamed("phi2"), "phi2.rope.dimension_count": 4 };
    expect(await configOf(half)).toMatchObject({ model_type: "phi", partial_rotary_factor: 0.5 });
  });

  it("takes Gemma's scale from the width where the depth is the 27B model's", async () => {
    const gemma = { ...renamed("gemma2"), "gemma2.attention.layer_norm_rms_epsilon": 1e-6 };
    // llama.cpp: hidden 32 / 4 heads for 46 layers, the head's size otherwise.
    const entry = { ...gemma, "gemma2.attention.key_length": 16 };
    expect(await configOf(entry)).toMatchObject({
      query_pre_attn_scalar: 16,
      layer_types: ["sliding_attention", "full_attention"],
    });
    const listed = { ...entry, "gemma2.attention.sliding_window_pattern": [false, true] };
    expect(await configOf(listed)).toMatchObject({ layer_types: ["full_attention", "sliding_attention"] });
  });

  it("reports an entry that has no place", async () => {
    const messages: string[] = [];
    const report = (event: { type: string; message?: string }) => messages.push(event.message ?? "");
    await configOfGguf(gguf({ "llama.attention.clamp_kqv": 8 }), "x.gguf", report);
    expect(messages).toEqual(["x.gguf: no place in the config for llama.attention.clamp_kqv"]);
  });
});
