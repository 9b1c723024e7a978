import { LayerfoldError } from "@layerfold/core";
import type { ModelConfig } from "../family.js";
import { rotaryOf } from "../rope.js";
import type { GgufEntries } from "./config-of-gguf.js";
import { float32Decimal } from "./float32-decimal.js";
import type { GgufFile } from "./read-gguf.js";
import { yarnAttentionFactor } from "./rope-to-gguf.js";

/** Tensors that hold a rotary scaling, which becomes part of the config. */
export const ropeTensors: readonly string[] = [
  "rope_freqs.weight",
  "rope_factors_long.weight",
  "rope_factors_short.weight",
];

interface Rotary {
  readonly base: number;
  readonly headSize: number;
}

/**
 * `rope_scaling` of config.json; null where there is none.
 * @throws GGUF_ROPE for a scaling without a name in transformers, GGUF_METADATA
 */
export async function ropeScalingOf(
  gguf: GgufFile,
  entries: GgufEntries,
  rotary: Rotary,
  file: string,
): Promise<ModelConfig | null> {
  const type = entries.value("rope.scaling.type") ?? "none";
  const number = (key: string, absent?: () => unknown) =>
    entries.field({ key: `rope.scaling.${key}`, kind: "number", absent }, {}) as number;
  const optional = (field: string, key: string) =>
    entries.value(`rope.scaling.${key}`) === undefined ? {} : { [field]: number(key) };
  if (gguf.tensors.has("rope_freqs.weight"))
    return llama3Scaling(await gguf.read("rope_freqs.weight"), rotary, file);
  if (gguf.tensors.has("rope_factors_long.weight") && gguf.tensors.has("rope_factors_short.weight")) {
    const factors = async (name: string) => Array.from(await gguf.read(name), float32Decimal);
    return {
      type: "longrope",
      short_factor: await factors("rope_factors_short.weight"),
      long_factor: await factors("rope_factors_long.weight"),
      ...ownAttentionFactor(entries),
    };
  }
  if (type === "none") return null;
  if (type === "linear") return { rope_type: "linear", factor: number("factor") };
  if (type === "yarn") {
    // llama.cpp multiplies its own factor by this one.
    const own = number("attn_factor", () => 1);
    return {
      rope_type: "yarn",
      factor: number("factor"),
      original_max_position_embeddings: number("original_context_length"),
      ...(own !== 1 && { attention_factor: own * yarnAttentionFactor(number("factor")) }),
      ...optional("attention_factor", "yarn_attn_factor"),
      ...optional("beta_fast", "yarn_beta_fast"),
      ...optional("beta_slow", "yarn_beta_slow"),
    };
  }
  throw new LayerfoldError("GGUF_ROPE", "unknown rotary scaling", {
    wanted: "linear, yarn, or longrope with its two tensors of factors",
    got: `${type}`,
    where: file,
  });
}

/** LongRoPE's factor on attention, where it is not the one that follows from the two lengths (as in `rope.ts`). */
function ownAttentionFactor(entries: GgufEntries): ModelConfig {
  const number = (key: string, absent?: () => unknown) =>
    entries.field({ key, kind: "number", absent }, {}) as number;
  const length = number("context_length");
  const original = number("rope.scaling.original_context_length", () => length);
  const usual = length > original ? Math.sqrt(1 + Math.log(length / original) / Math.log(original)) : 1;
  const factor = number("rope.scaling.attn_factor", () => usual);
  return Math.abs(factor / usual - 1) < 1e-6 ? {} : { attention_factor: factor };
}

/** llama.cpp keeps Llama 3.1's scaling as the divisors it comes to: the largest is the factor, the bounds have always been 1 and 4. */
function llama3Scaling(divisors: Float32Array, { base, headSize }: Rotary, file: string): ModelConfig {
  const refused = new LayerfoldError("GGUF_ROPE", "cannot name the rotary scaling behind rope_freqs.weight", {
    wanted: "Llama 3.1's, with bounds 1 and 4",
    where: file,
  });
  if (divisors.length * 2 !== headSize) throw refused;
  const factor = float32Decimal(Math.max(...divisors));
  const config = { rope_theta: base, max_position_embeddings: 8192 };
  const plain = rotaryOf(config, { headSize }).inverseFrequencies;
  for (const original of originalLengths(plain, divisors, factor)) {
    const parameters = {
      rope_type: "llama3",
      factor,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: original,
    };
    const scaled = rotaryOf({ ...config, rope_scaling: parameters }, { headSize }).inverseFrequencies;
    if (plain.every((frequency, i) => Math.abs(frequency / scaled[i] / divisors[i] - 1) < 1e-4))
      return parameters;
  }
  throw refused;
}

/**
 * Original lengths to try: 8,192, and the one that the divisors between 1 and `factor` amount to. Such a divisor is
 * 1 / ((1 − s) / factor + s) with s = (length / wavelength − 1) / 3.
 */
function originalLengths(plain: Float64Array, divisors: Float32Array, factor: number): number[] {
  const blended = divisors.findIndex((divisor) => divisor > 1.001 && divisor < factor * 0.999);
  if (blended < 0) return [8192];
  const smooth = (1 / divisors[blended] - 1 / factor) / (1 - 1 / factor);
  return [8192, Math.round(((2 * Math.PI) / plain[blended]) * (1 + 3 * smooth))];
}
