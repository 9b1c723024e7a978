import { llamaLike } from "../llama-like.js";
import { refuseIf } from "../unsupported.js";

/** Llama with layer norms, a quarter of each head rotated, and optionally attention and MLP in parallel. */
export const stablelm = llamaLike({
  modelTypes: ["stablelm"],
  norm: (c) => ({ kind: "layer", epsilon: c.epsilon("layer_norm_eps", 1e-5), bias: true }),
  biases: (c) => ({ qkv: c.boolean("use_qkv_bias", false) }),
  attention: (c) => {
    // A norm with weights of its own for every single head.
    refuseIf(c, "qk_layernorm");
    return {};
  },
  layer: () => ({ rotary: { partialFactor: 0.25 } }),
  parallel: (c) => c.boolean("use_parallel_residual", false),
});
