import type { ConfigReader } from "../config-reader.js";
import { layerTypeOf, materializeLayerTypes } from "../layer-types.js";
import { type LlamaLayer, type LlamaVariation, llamaLike } from "../llama-like.js";

/** The window that a Qwen config switches on; none unless `use_sliding_window` is set. */
function slidingWindowOf(c: ConfigReader): number | undefined {
  return c.boolean("use_sliding_window", false) ? c.optionalCount("sliding_window", 4096) : undefined;
}

/** Without `layer_types`: full attention below `max_window_layers`, sliding from there on. */
function ruleOf(c: ConfigReader, layer: number) {
  const slides = slidingWindowOf(c) !== undefined && layer >= c.index("max_window_layers", 28);
  return slides ? "sliding_attention" : "full_attention";
}

/** What Qwen 2 and 3 have in common: layer types, and how they follow from the index. */
export const qwenLayers: Pick<LlamaVariation, "layer" | "materialize"> = {
  layer: (c, layer): LlamaLayer => {
    const slides = layerTypeOf(c, layer, ruleOf) === "sliding_attention";
    return { slidingWindow: slides ? slidingWindowOf(c) : undefined };
  },
  materialize: materializeLayerTypes(ruleOf),
};

/** Llama with biases on q, k and v. */
export const qwen2 = llamaLike({ modelTypes: ["qwen2"], ...qwenLayers, biases: () => ({ qkv: true }) });
