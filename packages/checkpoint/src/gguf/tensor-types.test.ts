import { describe, expect, it } from "vitest";
import { architectureOf } from "../families.js";
import { type GgufFileType, storedType } from "./tensor-types.js";

// As llama-quant.cpp has it; tools/check-llama-cpp.mjs holds such models against what llama.cpp makes of them.
const llama = {
  model_type: "llama",
  hidden_size: 256,
  intermediate_size: 512,
  num_hidden_layers: 16,
  num_attention_heads: 4,
  vocab_size: 64,
  max_position_embeddings: 64,
};
const mixtral = { ...llama, model_type: "mixtral", num_local_experts: 8 };

const typeOf = (
  file: GgufFileType,
  name: string,
  shape: number[],
  config: object = llama,
  family = "llama",
) => storedType(file, name, shape, { name: family }, architectureOf(config as Record<string, unknown>));
const square = [256, 256];

describe("q4_k_m", () => {
  const layers = Array.from({ length: 16 }, (_, layer) => layer);
  const sixBits = (part: string) =>
    layers.filter((layer) => typeOf("q4_k_m", `blk.${layer}.${part}.weight`, square) === "Q6_K");

  it("gives the first and the last eighth and every third layer between more bits, where it matters", () => {
    expect(sixBits("attn_v")).toEqual([0, 1, 4, 7, 10, 13, 14, 15]);
    expect(sixBits("ffn_down")).toEqual([0, 1, 4, 7, 10, 13, 14, 15]);
    for (const part of ["attn_q", "attn_k", "attn_output", "ffn_up", "ffn_gate"])
      expect(sixBits(part)).toEqual([]);
    expect(typeOf("q4_k_m", "output.weight", [64, 256])).toBe("Q6_K");
    expect(typeOf("q4_k_m", "token_embd.weight", [64, 256])).toBe("Q4_K");
    const tied = { ...llama, tie_word_embeddings: true };
    expect(typeOf("q4_k_m", "token_embd.weight", [64, 256], tied)).toBe("Q6_K");
  });

  it("spares the small maps of eight experts", () => {
    const of = (part: string, shape = square) => typeOf("q4_k_m", `blk.3.${part}.weight`, shape, mixtral);
    expect(["attn_k", "attn_v", "attn_output"].map((part) => of(part))).toEqual(["Q8_0", "Q8_0", "Q5_K"]);
    expect(of("ffn_down_exps", [8, 256, 512])).toBe("Q4_K");
    expect(of("ffn_gate_inp", [8, 256])).toBe("F32");
    for (const file of ["q4_0", "q6_k"] as const)
      expect(typeOf(file, "blk.3.attn_v.weight", square, mixtral)).toBe("Q8_0");
  });

  it("takes blocks that the rows fill", () => {
    const of = (columns: number, part = "attn_q") => typeOf("q4_k_m", `blk.0.${part}.weight`, [256, columns]);
    expect([of(512), of(96), of(40)]).toEqual(["Q4_K", "Q5_0", "F16"]);
    expect([of(512, "attn_v"), of(96, "attn_v")]).toEqual(["Q6_K", "Q8_0"]);
    expect(typeOf("q4_k_m", "output.weight", [64, 96])).toBe("Q8_0");
  });
});

it("leaves norms, biases, positions and what Mamba has of its own as they are", () => {
  for (const file of ["f16", "q8_0", "q4_k_m"] as const) {
    for (const [name, shape] of [
      ["blk.0.attn_norm.weight", [256]],
      ["blk.0.attn_q.bias", [256]],
      ["position_embd.weight", [64, 256]],
      ["blk.0.ssm_a", [256, 16]],
      ["blk.0.ssm_conv1d.weight", [256, 4]],
    ] as const)
      expect(typeOf(file, name, [...shape]), name).toBe("F32");
  }
});

it("keeps a falcon's head in 8 bits", () => {
  expect(typeOf("q4_0", "output.weight", [64, 256], llama, "falcon")).toBe("Q8_0");
  expect(typeOf("q4_0", "output.weight", [64, 256])).toBe("Q6_K");
});
