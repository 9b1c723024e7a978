import type { ModelConfig } from "../../family.js";
import {
  count,
  type GgufArchitecture,
  type GgufFacts,
  headSize,
  number,
  rmsEpsilon,
  rotaryBase,
  sizes,
} from "../gguf-architecture.js";

/** What the two descriptions of Gemma have in common; norms are stored with the 1 that transformers adds, as their spec says. */
export const gemma = {
  fields: { ...sizes, ...headSize, ...rmsEpsilon, ...rotaryBase },
  constants: { hidden_activation: "gelu_pytorch_tanh" },
  rotary: "halves",
  derivedFrom: ["attention.sliding_window_pattern"],
} satisfies Partial<GgufArchitecture>;

/**
 * The attention scale is not in the file: llama.cpp takes the head's size, but hidden size / heads for the 27B models, which it knows
 * by their depth.
 */
export function gemmaScale(config: ModelConfig, depthOf27B: number): ModelConfig {
  const { num_hidden_layers, hidden_size, num_attention_heads, head_dim } = config;
  const large = num_hidden_layers === depthOf27B;
  return {
    query_pre_attn_scalar: large ? Math.floor(Number(hidden_size) / Number(num_attention_heads)) : head_dim,
  };
}

/** `layer_types`: what the file lists, or full attention in every `period`-th layer. */
export function gemmaLayers({ config, entry }: GgufFacts, defaultPeriod: number): ModelConfig {
  const pattern = entry("attention.sliding_window_pattern") ?? defaultPeriod;
  const slides = (layer: number) =>
    Array.isArray(pattern) ? Boolean(pattern[layer]) : (layer + 1) % Number(pattern) !== 0;
  const layers = Array.from({ length: Number(config.num_hidden_layers) }, (_, layer) => layer);
  return {
    layer_types: layers.map((layer) =>
      config.sliding_window != null && slides(layer) ? "sliding_attention" : "full_attention",
    ),
  };
}

export const gemma2: GgufArchitecture = {
  ...gemma,
  name: "gemma2",
  modelType: "gemma2",
  className: "Gemma2ForCausalLM",
  fields: {
    ...gemma.fields,
    sliding_window: count("attention.sliding_window", () => 4096),
    attn_logit_softcapping: number("attn_logit_softcapping", () => 50),
    final_logit_softcapping: number("final_logit_softcapping", () => 30),
  },
  derived: (facts) => ({ ...gemmaScale(facts.config, 46), ...gemmaLayers(facts, 2) }),
};
