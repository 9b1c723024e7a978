import { count, type GgufArchitecture, number } from "../gguf-architecture.js";

export const gpt2: GgufArchitecture = {
  name: "gpt2",
  modelType: "gpt2",
  className: "GPT2LMHeadModel",
  fields: {
    n_embd: count("embedding_length"),
    n_inner: count("feed_forward_length"),
    n_layer: count("block_count"),
    n_head: count("attention.head_count"),
    n_positions: count("context_length"),
    layer_norm_epsilon: number("attention.layer_norm_epsilon"),
  },
  constants: { activation_function: "gelu_new" },
};
