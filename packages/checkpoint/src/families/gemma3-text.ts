import type { ConfigReader } from "../config-reader.js";
import { readConfig } from "../config-reader.js";
import { type LayerType, layerTypeOf, materializeLayerTypes } from "../layer-types.js";
import { llamaLike } from "../llama-like.js";
import { gemma } from "./gemma2.js";

/** Without `layer_types`: every sixth layer (or what `sliding_window_pattern` says) has full attention. */
function ruleOf(c: ConfigReader, layer: number): LayerType {
  const field = c.has("sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
  return (layer + 1) % c.count(field, 6) === 0 ? "full_attention" : "sliding_attention";
}

/** Gemma 2 with norms on q and k, and a rotary base for each layer type: the legacy scaling holds for full attention alone. */
export const gemma3Text = llamaLike({
  modelTypes: ["gemma3_text"],
  ...gemma({}),
  queryKeyNorm: "head",
  layer: (c, layer) => {
    const type = layerTypeOf(c, layer, ruleOf);
    const full = type === "full_attention";
    const own = readConfig(c.object("rope_parameters") ?? {}).object(type) ?? {};
    const base = full ? c.positive("rope_theta", 1e6) : c.positive("rope_local_base_freq", 1e4);
    return {
      slidingWindow: full ? undefined : c.optionalCount("sliding_window", 4096),
      rotary: { parameters: { rope_theta: base, ...own, ...(full && c.object("rope_scaling")) } },
    };
  },
  materialize: materializeLayerTypes(ruleOf),
});
