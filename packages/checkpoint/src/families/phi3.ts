import { llamaLike } from "../llama-like.js";

/** Llama with q, k, v in one tensor and gate and up in one. */
export const phi3 = llamaLike({
  modelTypes: ["phi3"],
  fused: true,
  norm: (c) => ({ kind: "rms", epsilon: c.epsilon("rms_norm_eps", 1e-5) }),
  layer: (c) => ({ slidingWindow: c.optionalCount("sliding_window") }),
});
