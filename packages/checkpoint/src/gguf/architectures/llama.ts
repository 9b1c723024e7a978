import { type GgufArchitecture, headSize, rmsEpsilon, rotaryBase, sizes } from "../gguf-architecture.js";

/** Llama, and Mistral, which llama.cpp runs as such. */
export const llama: GgufArchitecture = {
  name: "llama",
  modelType: "llama",
  className: "LlamaForCausalLM",
  fields: { ...sizes, ...headSize, ...rmsEpsilon, ...rotaryBase },
  constants: { hidden_act: "silu" },
  presence: { attention_bias: "attn_q.bias", mlp_bias: "ffn_up.bias" },
  rotary: "interleaved",
  ropeFactors: true,
};
