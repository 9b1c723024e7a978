import { type GgufArchitecture, headSize, rmsEpsilon, rotaryBase, sizes } from "../gguf-architecture.js";

export const qwen3: GgufArchitecture = {
  name: "qwen3",
  modelType: "qwen3",
  className: "Qwen3ForCausalLM",
  fields: { ...sizes, ...headSize, ...rmsEpsilon, ...rotaryBase },
  constants: { hidden_act: "silu" },
  presence: { attention_bias: "attn_q.bias" },
  rotary: "halves",
};
