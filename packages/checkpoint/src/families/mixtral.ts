import { activationOf } from "../activation.js";
import { addExperts, expertCounts } from "../experts.js";
import { llamaLike } from "../llama-like.js";

/** Mistral whose every MLP is a mixture of experts; the chosen experts' weights sum to 1. */
export const mixtral = llamaLike({
  modelTypes: ["mixtral"],
  norm: (c) => ({ kind: "rms", epsilon: c.epsilon("rms_norm_eps", 1e-5) }),
  layer: (c) => ({ slidingWindow: c.optionalCount("sliding_window"), rotary: { theta: 1e6 } }),
  experts: (c, _layer, block) =>
    addExperts(
      block,
      c.count("hidden_size"),
      {
        ...expertCounts(c, "num_local_experts", { experts: 8, perToken: 2 }),
        intermediateSize: c.count("intermediate_size"),
        activation: activationOf(c, "hidden_act", "silu"),
        normalizeWeights: true,
      },
      {
        router: "block_sparse_moe.gate",
        expert: (index) => ({
          gate: `block_sparse_moe.experts.${index}.w1`,
          up: `block_sparse_moe.experts.${index}.w3`,
          down: `block_sparse_moe.experts.${index}.w2`,
        }),
      },
    ),
});
