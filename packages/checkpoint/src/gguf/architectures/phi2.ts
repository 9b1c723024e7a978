import { type GgufArchitecture, number, rotaryBase, sizes } from "../gguf-architecture.js";

export const phi2: GgufArchitecture = {
  name: "phi2",
  modelType: "phi",
  className: "PhiForCausalLM",
  fields: { ...sizes, layer_norm_eps: number("attention.layer_norm_epsilon"), ...rotaryBase },
  constants: { hidden_act: "gelu_new", qk_layernorm: false },
  rotary: "halves",
  rotaryShare: "partial_rotary_factor",
};
