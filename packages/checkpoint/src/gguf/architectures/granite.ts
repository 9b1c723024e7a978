import type { GgufArchitecture } from "../gguf-architecture.js";
import { number } from "../gguf-architecture.js";
import { llama } from "./llama.js";

export const granite: GgufArchitecture = {
  ...llama,
  name: "granite",
  modelType: "granite",
  className: "GraniteForCausalLM",
  fields: {
    ...llama.fields,
    attention_multiplier: number("attention.scale", (c) => Number(c.head_dim) ** -0.5),
    embedding_multiplier: number("embedding_scale", () => 1),
    residual_multiplier: number("residual_scale", () => 1),
    logits_scaling: number("logit_scale", () => 1),
  },
};
