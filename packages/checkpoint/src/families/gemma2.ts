import type { ConfigReader } from "../config-reader.js";
import { layerTypeOf, materializeLayerTypes } from "../layer-types.js";
import { type LlamaVariation, llamaLike } from "../llama-like.js";
import { refuseIf } from "../unsupported.js";

/** What Gemma 2 and 3 have in common: four norms with 1 + weight, scaled embeddings, their own attention scale, soft-caps. */
export function gemma(softcaps: {
  readonly attention?: number;
  readonly head?: number;
}): Omit<LlamaVariation, "modelTypes"> {
  return {
    tied: true,
    headSize: 256,
    activation: ["hidden_activation", "gelu_pytorch_tanh"],
    norm: (c) => ({ kind: "rms", epsilon: c.epsilon("rms_norm_eps", 1e-6), weightOffset: 1 }),
    norms: "both",
    biases: (c) => {
      const attention = c.boolean("attention_bias", false);
      return { qkv: attention, output: attention };
    },
    attention: (c) => {
      refuseIf(c, "use_bidirectional_attention");
      const softcap = c.optionalPositive("attn_logit_softcapping", softcaps.attention);
      return {
        scale: c.positive("query_pre_attn_scalar", 256) ** -0.5,
        ...(softcap !== undefined && { softcap }),
      };
    },
    embeddingScale: (c) => c.count("hidden_size") ** 0.5,
    head: (c) => ({ headSoftcap: c.optionalPositive("final_logit_softcapping", softcaps.head) }),
  };
}

/** Without `layer_types`: sliding and full attention take turns, sliding first. */
function ruleOf(_: ConfigReader, layer: number) {
  return layer % 2 === 0 ? "sliding_attention" : "full_attention";
}

export const gemma2 = llamaLike({
  modelTypes: ["gemma2"],
  ...gemma({ attention: 50, head: 30 }),
  layer: (c, layer) => ({
    slidingWindow:
      layerTypeOf(c, layer, ruleOf) === "sliding_attention"
        ? c.optionalCount("sliding_window", 4096)
        : undefined,
  }),
  materialize: materializeLayerTypes(ruleOf),
});
