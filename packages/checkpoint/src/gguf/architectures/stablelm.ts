import { boolean, type GgufArchitecture, number, rotaryBase, sizes } from "../gguf-architecture.js";

export const stablelm: GgufArchitecture = {
  name: "stablelm",
  modelType: "stablelm",
  className: "StableLmForCausalLM",
  fields: {
    ...sizes,
    layer_norm_eps: number("attention.layer_norm_epsilon"),
    ...rotaryBase,
    use_parallel_residual: boolean("use_parallel_residual", () => false),
  },
  constants: { hidden_act: "silu" },
  presence: { use_qkv_bias: "attn_q.bias", qk_layernorm: "attn_q_norm.weight" },
  rotary: "halves",
  rotaryShare: "partial_rotary_factor",
};
