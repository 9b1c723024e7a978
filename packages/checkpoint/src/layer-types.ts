import { type ConfigReader, readConfig } from "./config-reader.js";
import type { Family } from "./family.js";

export type LayerType = "full_attention" | "sliding_attention";

/**
 * The attention type of one layer: what `layer_types` says, else the family's rule.
 * @throws CONFIG_INVALID for a list of another length or an unknown type
 */
export function layerTypeOf(
  c: ConfigReader,
  layer: number,
  rule: (c: ConfigReader, layer: number) => LayerType,
): LayerType {
  const list = c.list("layer_types");
  if (!list) return rule(c, layer);
  if (list.length !== c.count("num_hidden_layers")) {
    throw c.invalid("layer_types", `${c.count("num_hidden_layers")} entries, one per layer`);
  }
  const type = list[layer];
  if (type !== "full_attention" && type !== "sliding_attention") {
    throw c.invalid("layer_types", "full_attention or sliding_attention for each layer");
  }
  return type;
}

/** A family's `materialize` that writes `layer_types` out from its rule. */
export function materializeLayerTypes(
  rule: (c: ConfigReader, layer: number) => LayerType,
): NonNullable<Family["materialize"]> {
  return (config) => {
    const c = readConfig(config);
    const length = c.count("num_hidden_layers");
    return { ...config, layer_types: Array.from({ length }, (_, layer) => layerTypeOf(c, layer, rule)) };
  };
}
