import type { ModelConfig } from "./family.js";

/** Fields that transformers declares as float and refuses to read from an integer, or that older versions refuse. */
const floatFields = [
  "attention_factor",
  "attn_logit_softcapping",
  "factor",
  "final_logit_softcapping",
  "high_freq_factor",
  "init_std",
  "initializer_range",
  "layer_norm_eps",
  "layer_norm_epsilon",
  "low_freq_factor",
  "rms_norm_eps",
  "rope_theta",
  "router_aux_loss_coef",
  "router_jitter_noise",
];

/**
 * config.json as text. JavaScript knows no difference between 30 and 30.0, but Python does: a number stays with a point where its
 * field is known to be a float, or where `original` writes it so.
 * @param original - text of the config.json that `config` was made from
 */
export function serializeConfig(config: ModelConfig, original = ""): string {
  const floats = new Set(floatFields);
  for (const [, field] of original.matchAll(/"(\w+)"\s*:\s*-?\d+\.0+\s*[,}\n]/g)) floats.add(field);
  const marked = JSON.stringify(
    config,
    (field, value) => (floats.has(field) && Number.isInteger(value) ? `@float ${value}.0` : value),
    2,
  );
  return `${marked.replace(/"@float (-?\d+\.0)"/g, "$1")}\n`;
}
