import { llamaLike } from "../llama-like.js";

/** Llama 1 to 3.3 and everything saved under its name. */
export const llama = llamaLike({
  modelTypes: ["llama"],
  biases: (c) => {
    const attention = c.boolean("attention_bias", false);
    return { qkv: attention, output: attention, mlp: c.boolean("mlp_bias", false) };
  },
});
