import { llamaLike } from "../llama-like.js";

/** Llama with a multiplier on embeddings, attention scores, residual updates and logits. */
export const granite = llamaLike({
  modelTypes: ["granite"],
  biases: (c) => {
    const attention = c.boolean("attention_bias", false);
    return { qkv: attention, output: attention, mlp: c.boolean("mlp_bias", false) };
  },
  attention: (c) => ({ scale: c.number("attention_multiplier", 1) }),
  residualScale: (c) => c.number("residual_multiplier", 1),
  embeddingScale: (c) => c.number("embedding_multiplier", 1),
  head: (c) => ({ headScale: 1 / c.positive("logits_scaling", 1) }),
});
