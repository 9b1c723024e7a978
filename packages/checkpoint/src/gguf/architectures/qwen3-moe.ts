import { count, type GgufArchitecture } from "../gguf-architecture.js";
import { qwen3 } from "./qwen3.js";

/** llama.cpp knows it with experts in every layer and with their weights brought to a sum of 1, as every published one has them. */
export const qwen3Moe: GgufArchitecture = {
  ...qwen3,
  name: "qwen3moe",
  modelType: "qwen3_moe",
  className: "Qwen3MoeForCausalLM",
  experts: true,
  fields: {
    ...qwen3.fields,
    num_experts: count("expert_count"),
    num_experts_per_tok: count("expert_used_count"),
    moe_intermediate_size: count("expert_feed_forward_length", (c) => c.intermediate_size),
  },
  constants: { ...qwen3.constants, norm_topk_prob: true, decoder_sparse_step: 1, mlp_only_layers: [] },
};
