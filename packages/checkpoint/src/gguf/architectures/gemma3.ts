import { type GgufArchitecture, number, window } from "../gguf-architecture.js";
import { gemma, gemmaLayers, gemmaScale } from "./gemma2.js";

/** The text part, which is all that a GGUF file of this name holds; the image part has a file of its own. */
export const gemma3: GgufArchitecture = {
  ...gemma,
  name: "gemma3",
  modelType: "gemma3_text",
  className: "Gemma3ForCausalLM",
  fields: {
    ...gemma.fields,
    sliding_window: window("attention.sliding_window"),
    rope_local_base_freq: number("rope.freq_base_swa", () => 10_000),
    final_logit_softcapping: number("final_logit_softcapping", () => null),
  },
  constants: { ...gemma.constants, attn_logit_softcapping: null },
  derived: (facts) => ({ ...gemmaScale(facts.config, 62), ...gemmaLayers(facts, 6) }),
};
