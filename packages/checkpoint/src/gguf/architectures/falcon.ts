import { count, type GgufArchitecture, number, rotaryBase, sizes } from "../gguf-architecture.js";

const { intermediate_size, num_key_value_heads, ...others } = sizes;

/** Attention and MLP in parallel, behind one norm or two; several key/value heads or two norms are the new form. */
export const falcon: GgufArchitecture = {
  name: "falcon",
  modelType: "falcon",
  className: "FalconForCausalLM",
  fields: {
    ...others,
    ffn_hidden_size: intermediate_size,
    num_kv_heads: count("attention.head_count_kv", () => 1),
    layer_norm_epsilon: number("attention.layer_norm_epsilon"),
    ...rotaryBase,
  },
  constants: { activation: "gelu", parallel_attn: true, bias: false, alibi: false, multi_query: true },
  derived: ({ config, has }) => {
    const twoNorms = has("blk.0.attn_norm_2.weight");
    return {
      new_decoder_architecture: twoNorms || Number(config.num_kv_heads) > 1,
      num_ln_in_parallel_attn: twoNorms ? 2 : 1,
    };
  },
  rotary: "halves",
  remarks: { tensor_data_layout: "jploski" },
  parts: ({ tensors }) =>
    tensors.has("norm.mlp")
      ? { "norm.attention": "attn_norm_2", "norm.mlp": "attn_norm" }
      : { "norm.attention": "attn_norm" },
};
