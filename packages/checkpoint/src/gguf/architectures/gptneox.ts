import { boolean, type GgufArchitecture, number, rotaryBase, sizes } from "../gguf-architecture.js";

const { num_key_value_heads: _, ...ungrouped } = sizes;

export const gptNeox: GgufArchitecture = {
  name: "gptneox",
  modelType: "gpt_neox",
  className: "GPTNeoXForCausalLM",
  fields: {
    ...ungrouped,
    layer_norm_eps: number("attention.layer_norm_epsilon"),
    rotary_emb_base: rotaryBase.rope_theta,
    use_parallel_residual: boolean("use_parallel_residual"),
  },
  constants: { hidden_act: "gelu" },
  presence: { attention_bias: "attn_qkv.bias" },
  rotary: "halves",
  rotaryShare: "rotary_pct",
};
