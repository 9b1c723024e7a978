import { type ConfigReader, readConfig } from "../config-reader.js";
import { layerTypeOf, materializeLayerTypes } from "../layer-types.js";
import { llamaLike } from "../llama-like.js";

/** Whether a layer has a rotary embedding: `no_rope_layers` (1 says yes), else all but every fourth. */
function hasRope(c: ConfigReader, layer: number): boolean {
  const list = c.list("no_rope_layers");
  return list ? Boolean(list[layer]) : (layer + 1) % c.count("no_rope_layer_interval", 4) !== 0;
}

function slidingWindowOf(c: ConfigReader): number | undefined {
  return c.boolean("use_sliding_window", false) ? c.optionalCount("sliding_window") : undefined;
}

/** Without `layer_types`: the layers without rotary embedding slide, where a window is switched on. */
function ruleOf(c: ConfigReader, layer: number) {
  return slidingWindowOf(c) !== undefined && !hasRope(c, layer) ? "sliding_attention" : "full_attention";
}

const materializeTypes = materializeLayerTypes(ruleOf);

/** Llama in which some layers have no rotary embedding. */
export const smollm3 = llamaLike({
  modelTypes: ["smollm3"],
  tied: true,
  biases: (c) => {
    const attention = c.boolean("attention_bias", false);
    return { qkv: attention, output: attention, mlp: c.boolean("mlp_bias", false) };
  },
  layer: (c, layer) => ({
    slidingWindow: layerTypeOf(c, layer, ruleOf) === "sliding_attention" ? slidingWindowOf(c) : undefined,
    rotary: hasRope(c, layer) && { theta: 2e6 },
  }),
  materialize: (config, kept) => {
    const c = readConfig(config);
    const length = c.count("num_hidden_layers");
    return {
      ...materializeTypes(config, kept),
      no_rope_layers: Array.from({ length }, (_, layer) => Number(hasRope(c, layer))),
    };
  },
});
