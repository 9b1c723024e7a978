import { llamaLike } from "../llama-like.js";

/** Llama with one sliding window for all layers; a `sliding_window` of null is none, and 4,096 stands where the field is absent. */
export const mistral = llamaLike({
  modelTypes: ["mistral"],
  layer: (c) => ({ slidingWindow: c.optionalCount("sliding_window", 4096) }),
});
