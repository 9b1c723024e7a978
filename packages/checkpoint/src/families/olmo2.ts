import { llamaLike } from "../llama-like.js";

/** Llama with its norms after attention and MLP instead of before, and a norm on the whole q and k. */
export const olmo2 = llamaLike({
  modelTypes: ["olmo2"],
  norm: (c) => ({ kind: "rms", epsilon: c.epsilon("rms_norm_eps", 1e-5) }),
  norms: "after",
  queryKeyNorm: "projection",
  biases: (c) => {
    const attention = c.boolean("attention_bias", false);
    return { qkv: attention, output: attention };
  },
});
