import { count, type GgufArchitecture, rmsEpsilon, rotaryBase, sizes, window } from "../gguf-architecture.js";

export const phi3: GgufArchitecture = {
  name: "phi3",
  modelType: "phi3",
  className: "Phi3ForCausalLM",
  fields: {
    ...sizes,
    ...rmsEpsilon,
    ...rotaryBase,
    sliding_window: window("attention.sliding_window"),
    original_max_position_embeddings: count(
      "rope.scaling.original_context_length",
      (c) => c.max_position_embeddings,
    ),
  },
  constants: { hidden_act: "silu" },
  rotary: "halves",
  rotaryShare: "partial_rotary_factor",
  ropeFactors: true,
  windowIgnored: true,
  // Gate and up in one.
  parts: () => ({ "mlp.gate_up": "ffn_up" }),
};
