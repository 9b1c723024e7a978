import type { ConfigReader } from "../config-reader.js";
import { llamaLike } from "../llama-like.js";
import { qwenLayers } from "./qwen2.js";

/** Attention biases as Qwen 3 has them: on all four maps or on none. */
export function qwen3Biases(c: ConfigReader) {
  const attention = c.boolean("attention_bias", false);
  return { qkv: attention, output: attention };
}

/** Llama with a norm on every head's q and k, and heads of 128 where the config does not say. */
export const qwen3 = llamaLike({
  modelTypes: ["qwen3"],
  ...qwenLayers,
  headSize: 128,
  queryKeyNorm: "head",
  biases: qwen3Biases,
});
