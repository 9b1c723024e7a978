import { activationOf } from "../activation.js";
import { type ConfigReader, readConfig } from "../config-reader.js";
import { addExperts, expertCounts } from "../experts.js";
import { llamaLike } from "../llama-like.js";
import { qwen3Biases } from "./qwen3.js";

/** Every `decoder_sparse_step`-th layer has experts, but for those in `mlp_only_layers`. */
function hasExperts(c: ConfigReader, layer: number): boolean {
  const dense = c.list("mlp_only_layers") ?? [];
  return !dense.includes(layer) && (layer + 1) % c.count("decoder_sparse_step", 1) === 0;
}

/** Qwen 3 with experts in some layers, and one sliding window for all of them where one is switched on. */
export const qwen3Moe = llamaLike({
  modelTypes: ["qwen3_moe"],
  queryKeyNorm: "head",
  biases: qwen3Biases,
  layer: (c) => ({
    slidingWindow: c.boolean("use_sliding_window", false)
      ? c.optionalCount("sliding_window", 4096)
      : undefined,
  }),
  experts: (c, layer, block) =>
    hasExperts(c, layer)
      ? addExperts(
          block,
          c.count("hidden_size"),
          {
            ...expertCounts(c, c.has("num_experts") ? "num_experts" : "num_local_experts", {
              experts: 128,
              perToken: 8,
            }),
            intermediateSize: c.count("moe_intermediate_size", 768),
            activation: activationOf(c, "hidden_act", "silu"),
            normalizeWeights: c.boolean("norm_topk_prob", false),
          },
          {
            router: "mlp.gate",
            expert: (index) => ({
              gate: `mlp.experts.${index}.gate_proj`,
              up: `mlp.experts.${index}.up_proj`,
              down: `mlp.experts.${index}.down_proj`,
            }),
          },
        )
      : undefined,
  // The step cannot name single layers; the list of dense ones can.
  materialize: (config) => {
    const c = readConfig(config);
    const layers = Array.from({ length: c.count("num_hidden_layers") }, (_, layer) => layer);
    return {
      ...config,
      decoder_sparse_step: 1,
      mlp_only_layers: layers.filter((layer) => !hasExperts(c, layer)),
    };
  },
});
