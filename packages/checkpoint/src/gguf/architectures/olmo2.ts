import { type GgufArchitecture, headSize, rmsEpsilon, rotaryBase, sizes } from "../gguf-architecture.js";

export const olmo2: GgufArchitecture = {
  name: "olmo2",
  modelType: "olmo2",
  className: "Olmo2ForCausalLM",
  fields: { ...sizes, ...headSize, ...rmsEpsilon, ...rotaryBase },
  constants: { hidden_act: "silu" },
  presence: { attention_bias: "attn_q.bias" },
  rotary: "halves",
};
