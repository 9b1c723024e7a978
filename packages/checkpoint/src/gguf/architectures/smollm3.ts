import type { GgufArchitecture } from "../gguf-architecture.js";
import { llama } from "./llama.js";

/** llama.cpp knows it with every fourth layer without rotary embedding, as the published one has it. */
export const smollm3: GgufArchitecture = {
  ...llama,
  name: "smollm3",
  modelType: "smollm3",
  className: "SmolLM3ForCausalLM",
  ropeFactors: false,
  constants: { ...llama.constants, no_rope_layer_interval: 4, use_sliding_window: false },
};
