import { type GgufArchitecture, headSize, rmsEpsilon, rotaryBase, sizes } from "../gguf-architecture.js";

export const qwen2: GgufArchitecture = {
  name: "qwen2",
  modelType: "qwen2",
  className: "Qwen2ForCausalLM",
  fields: { ...sizes, ...headSize, ...rmsEpsilon, ...rotaryBase },
  constants: { hidden_act: "silu" },
  rotary: "halves",
};
