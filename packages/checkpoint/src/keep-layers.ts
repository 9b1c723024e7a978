import { LayerfoldError, type RunContext } from "@layerfold/core";
import { readConfig } from "./config-reader.js";
import type { Family, ModelConfig } from "./family.js";
import { renameQuantizedModules } from "./quantized-modules.js";

/** Lists with one entry per layer: sliced. */
const perLayerLists = [
  "layer_types",
  "mlp_layer_types",
  "no_rope_layers",
  "layers_block_type",
  "intermediate_size",
  "activation_sparsity_pattern",
  "block_configs",
  "num_query_heads",
  "num_kv_heads",
  "ffn_multipliers",
  "attention_layers",
];

/** Lists of layer indices: removed layers leave, the rest is renumbered. */
const indexLists = [
  "moe_layers",
  "mlp_only_layers",
  "attn_layer_indices",
  "full_attn_idxs",
  "full_attention_layers",
  "cross_attention_layers",
];

/** "The first n layers are different": n shrinks by the removed layers below it. */
const thresholds = ["max_window_layers", "first_k_dense_replace"];

/** Rules that name layers by their index alone, the list that takes a rule's place where there is one, and the rule. */
const periodicRules = [
  { field: "sliding_window_pattern", list: "layer_types", marks: next },
  { field: "_sliding_window_pattern", list: "layer_types", marks: next },
  { field: "no_rope_layer_interval", list: "no_rope_layers", marks: next },
  { field: "interleave_moe_layer_step", list: "moe_layers", marks: next },
  { field: "decoder_sparse_step", list: undefined, marks: next },
  { field: "moe_layer_freq", list: undefined, marks: (layer: number, step: number) => layer % step === 0 },
];

function next(layer: number, step: number): boolean {
  return (layer + 1) % step === 0;
}

const countFields = ["num_hidden_layers", "n_layer", "n_layers", "num_layers"];

/** Lists that have nothing to do with layers, whatever their length. */
const otherLists = ["architectures", "bos_token_id", "eos_token_id", "pad_token_id"];

/**
 * The config of the model that keeps some layers: count, per-layer lists, index lists, thresholds and the module names of a
 * quantisation follow, and what a family derives from the index is written out from the original index first. An attention scale that
 * follows from the index stays a matter of the weights: `foldCheckpoint` scales queries by what it changes.
 *
 * @param kept - ascending indices of the original layers, at least one
 * @param report - hears of fields that look as if they spoke of layers and are not known
 *
 * @example
 * ```ts
 * const config = { model_type: "qwen2", num_hidden_layers: 4, use_sliding_window: true, max_window_layers: 2 };
 * const folded = keepLayers(familyOf(config), config, [0, 3]);
 * assert(folded.num_hidden_layers === 2);
 * assert(String(folded.layer_types) === "full_attention,sliding_attention");
 * ```
 *
 * @throws LAYERS_OUT_OF_RANGE; CONFIG_CANNOT_EXPRESS where the config has no way to say it, or has an unknown list of the layers' length
 */
export function keepLayers(
  family: Family,
  config: ModelConfig,
  kept: readonly number[],
  report?: RunContext["report"],
): ModelConfig {
  const layerCount = readConfig(config).count(family.layerCountField);
  checkKept(kept, layerCount);
  if (kept.length === layerCount) return config;
  const full = family.materialize?.(config, kept) ?? config;
  const c = readConfig(full);
  const result: Record<string, unknown> = { ...full, [family.layerCountField]: kept.length };
  for (const field of countFields) if (full[field] === layerCount) result[field] = kept.length;

  for (const field of perLayerLists) {
    const list = Array.isArray(full[field]) ? full[field] : undefined;
    if (!list) continue;
    if (list.length < layerCount) throw c.invalid(field, `${layerCount} entries, one per layer`);
    result[field] = kept.map((layer) => list[layer]);
  }
  for (const field of indexLists) {
    const list = c.list(field);
    if (list) result[field] = kept.flatMap((layer, index) => (list.includes(layer) ? [index] : []));
  }
  for (const field of thresholds) {
    const threshold = c.optionalNumber(field);
    if (threshold === undefined) continue;
    const below = kept.filter((layer) => layer < threshold).length;
    result[field] = threshold - (Math.min(threshold, layerCount) - below);
  }
  Object.assign(result, keyedByIndex(full, kept), sharedKeyValues(full, kept, layerCount));
  if (typeof full.hybrid_override_pattern === "string") {
    const pattern = full.hybrid_override_pattern;
    if (pattern.length !== layerCount) throw c.invalid("hybrid_override_pattern", `${layerCount} characters`);
    result.hybrid_override_pattern = kept.map((layer) => pattern[layer]).join("");
  }
  const attentionTypes = c.list("attention_types") as [string[], number][] | undefined;
  if (attentionTypes) {
    const each = attentionTypes.flatMap(([types, times]) => Array<string[]>(times).fill(types).flat());
    if (each.length !== layerCount) throw c.invalid("attention_types", `${layerCount} layers`);
    result.attention_types = [[kept.map((layer) => each[layer]), 1]];
  }
  // Multi-token-prediction layers stand behind the last layer and are not carried over.
  if (full.num_nextn_predict_layers != null) result.num_nextn_predict_layers = 0;
  checkPeriodicRules(full, kept);
  checkUnknownFields(full, layerCount, report);
  const quantization = c.object("quantization_config");
  if (quantization) result.quantization_config = renameQuantizedModules(family, quantization, kept);
  return result;
}

function checkKept(kept: readonly number[], layerCount: number) {
  const ascending = kept.every((layer, i) => Number.isInteger(layer) && (i === 0 || layer > kept[i - 1]));
  if (kept.length > 0 && ascending && kept[0] >= 0 && kept[kept.length - 1] < layerCount) return;
  throw new LayerfoldError("LAYERS_OUT_OF_RANGE", "cannot keep these layers", {
    wanted: `ascending indices from 0 to ${layerCount - 1}, at least one`,
    got: `[${kept.join(", ")}]`,
  });
}

/** `per_layer_config`: overrides keyed by the layer's index. */
function keyedByIndex(config: ModelConfig, kept: readonly number[]): ModelConfig {
  const overrides = readConfig(config).object("per_layer_config");
  if (!overrides) return {};
  const entries = kept.flatMap((layer, index) =>
    String(layer) in overrides ? [[String(index), overrides[String(layer)]]] : [],
  );
  return { per_layer_config: Object.fromEntries(entries) };
}

/**
 * `num_kv_shared_layers`: the last so many layers reuse keys and values of the last layer before them that has their own type, which
 * therefore must stay.
 */
function sharedKeyValues(config: ModelConfig, kept: readonly number[], layerCount: number): ModelConfig {
  const shared = readConfig(config).optionalNumber("num_kv_shared_layers");
  if (!shared) return {};
  const first = layerCount - shared;
  const types = (readConfig(config).list("layer_types") ?? []) as string[];
  const sharing = kept.filter((layer) => layer >= first);
  for (const layer of sharing) {
    const producer = types.lastIndexOf(types[layer], first - 1);
    if (!kept.includes(producer)) {
      throw new LayerfoldError(
        "CONFIG_CANNOT_EXPRESS",
        `layer ${layer} reuses the keys of layer ${producer}`,
        {
          wanted: `a set that keeps layer ${producer}`,
          got: `[${kept.join(", ")}]`,
          where: "config.json, num_kv_shared_layers",
        },
      );
    }
  }
  return { num_kv_shared_layers: sharing.length };
}

/** A rule that no list replaces holds for the new indices as well only if every kept layer is marked as before. */
function checkPeriodicRules(config: ModelConfig, kept: readonly number[]) {
  for (const { field, list, marks } of periodicRules) {
    const step = config[field];
    if (typeof step !== "number" || (list && Array.isArray(config[list]))) continue;
    const wrong = kept.find((layer, index) => marks(layer, step) !== marks(index, step));
    if (wrong !== undefined) {
      throw new LayerfoldError("CONFIG_CANNOT_EXPRESS", `${field} cannot say that layer ${wrong} moves`, {
        wanted: `layers removed in runs of ${step}`,
        got: `kept [${kept.join(", ")}]`,
        where: `config.json, ${field}`,
      });
    }
  }
}

function checkUnknownFields(config: ModelConfig, layerCount: number, report: RunContext["report"]) {
  const known = new Set([
    ...perLayerLists,
    ...indexLists,
    ...thresholds,
    ...otherLists,
    ...periodicRules.map(({ field }) => field),
  ]);
  for (const [field, value] of Object.entries(config)) {
    if (known.has(field) || !Array.isArray(value)) continue;
    if (value.length === layerCount) {
      throw new LayerfoldError(
        "CONFIG_CANNOT_EXPRESS",
        `${field} may be a list of the layers, and is not known`,
        {
          got: `${value.length} entries for ${layerCount} layers`,
          where: `config.json, ${field}`,
        },
      );
    }
    if (/layer|block/.test(field)) {
      report?.({
        type: "diagnostic",
        severity: "warning",
        code: "CONFIG_FIELD_UNKNOWN",
        message: `config.json, ${field}: may speak of layers, is not known and stays as it is`,
      });
    }
  }
}
