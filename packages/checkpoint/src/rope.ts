import type { RotarySpec } from "@layerfold/core";
import { LayerfoldError, nameOrQuoted } from "@layerfold/core";
import { type ConfigReader, readConfig } from "./config-reader.js";
import type { ModelConfig } from "./family.js";

// Every step that transformers takes in float32.
const round = Math.fround;

// Far beyond every model's; the tables of sines grow with it.
const largestHead = 2 ** 16;

const types = ["default", "linear", "dynamic", "llama3", "yarn", "longrope"] as const;
type RopeType = (typeof types)[number];

/** What a family says beside the config. */
export interface RotaryDefaults {
  readonly headSize: number;
  /** Base where the config names none; 10,000 in most families. */
  readonly theta?: number;
  /** Share of the head that is rotated where the config names none; 1 in most families. */
  readonly partialFactor?: number;
  /** Parameters to go by instead of the config's `rope_parameters` or `rope_scaling`, where they depend on the layer. */
  readonly parameters?: ModelConfig;
}

/**
 * Resolves the rotary position embedding of a config: v5's `rope_parameters` as well as the legacy
 * `rope_theta` + `rope_scaling` (+ `partial_rotary_factor`). Frequencies are rounded to float32 where transformers
 * (`modeling_rope_utils.py`) rounds them, so that angles agree far out as well.
 *
 * @throws CONFIG_INVALID for a missing or mistyped parameter, ROPE_UNKNOWN for a type that is not known
 */
export function rotaryOf(config: ModelConfig, defaults: RotaryDefaults): RotarySpec {
  const parameters = ropeParameters(config, defaults);
  const p = readConfig(parameters, "config.json, rope_parameters");
  const type = parameters.rope_type as RopeType;
  const theta = p.positive("rope_theta");
  const dimension = Math.trunc(defaults.headSize * p.positive("partial_rotary_factor"));
  if (dimension < 2 || dimension % 2 !== 0) {
    throw p.invalid("partial_rotary_factor", `an even number of the head's ${defaults.headSize} dimensions`);
  }
  if (dimension > Math.min(defaults.headSize, largestHead)) {
    const c = readConfig(config);
    if (dimension > defaults.headSize) throw p.invalid("partial_rotary_factor", "at most 1");
    throw c.invalid(c.has("head_dim") ? "head_dim" : "hidden_size", `heads of at most ${largestHead}`);
  }
  const plain = inverseFrequencies(theta, dimension);
  const spec = (frequencies: Float64Array, attentionFactor = 1): RotarySpec => {
    if (!frequencies.every(Number.isFinite)) {
      throw p.invalid("rope_theta", "a base whose frequencies are finite in float32");
    }
    return {
      inverseFrequencies: frequencies,
      rotaryDimension: dimension,
      interleaved: false,
      attentionFactor,
      parameters,
    };
  };
  switch (type) {
    case "default":
      return spec(plain);
    case "linear": {
      const factor = p.positive("factor");
      return spec(plain.map((f) => round(f / factor)));
    }
    case "dynamic": {
      const factor = p.positive("factor");
      const longest = readConfig(config).count("max_position_embeddings");
      return {
        ...spec(plain),
        inverseFrequenciesFor: (length) => {
          if (length <= longest) return plain;
          const grown = theta * ((factor * length) / longest - (factor - 1)) ** (dimension / (dimension - 2));
          return inverseFrequencies(grown, dimension);
        },
      };
    }
    case "llama3":
      return spec(llama3(plain, p));
    case "yarn":
      return yarn(p, theta, dimension, readConfig(config), spec);
    case "longrope":
      return longrope(p, theta, dimension, readConfig(config), spec);
  }
}

/** One flat set of parameters, with `rope_type`, `rope_theta`, `partial_rotary_factor` and the original length filled in. */
function ropeParameters(config: ModelConfig, defaults: RotaryDefaults): ModelConfig {
  const c = readConfig(config);
  const chosen = defaults.parameters ?? c.object("rope_scaling") ?? c.object("rope_parameters") ?? {};
  const type = nameOrQuoted(chosen.rope_type ?? chosen.type ?? "default");
  // Phi-3's first configs called longrope "su".
  const known = type === "su" ? "longrope" : type;
  if (!(types as readonly string[]).includes(known)) {
    throw new LayerfoldError("ROPE_UNKNOWN", "unknown rotary embedding type", {
      wanted: types.join(", "),
      got: type,
      where: "config.json, rope_type",
    });
  }
  return {
    ...chosen,
    rope_type: known,
    rope_theta: chosen.rope_theta ?? config.rope_theta ?? defaults.theta ?? 10_000,
    partial_rotary_factor:
      chosen.partial_rotary_factor ?? config.partial_rotary_factor ?? defaults.partialFactor ?? 1,
    // Phi-3 keeps the original length beside the parameters, and that one wins.
    original_max_position_embeddings:
      config.original_max_position_embeddings ??
      chosen.original_max_position_embeddings ??
      config.max_position_embeddings,
  };
}

/** θ^(−2i/d) for i = 0 … d/2 − 1. */
function inverseFrequencies(theta: number, dimension: number): Float64Array {
  return Float64Array.from({ length: dimension / 2 }, (_, i) =>
    round(1 / round(theta ** round((2 * i) / dimension))),
  );
}

/** Llama 3.1: long waves are stretched by `factor`, short ones stay, those between are blended. */
function llama3(plain: Float64Array, p: ConfigReader): Float64Array {
  const factor = p.positive("factor");
  const low = p.positive("low_freq_factor");
  const high = p.positive("high_freq_factor");
  const original = p.positive("original_max_position_embeddings");
  return plain.map((frequency) => {
    const wavelength = round((2 * Math.PI) / frequency);
    if (wavelength > original / low) return round(frequency / factor);
    if (wavelength < original / high) return frequency;
    const smooth = round(round(round(original / wavelength) - low) / (high - low));
    return round(round(round(round(1 - smooth) * frequency) / factor) + round(smooth * frequency));
  });
}

/** YaRN (arXiv 2309.00071): interpolated and extrapolated frequencies blended along a ramp over the dimensions. */
function yarn(
  p: ConfigReader,
  theta: number,
  dimension: number,
  config: ConfigReader,
  spec: (frequencies: Float64Array, attentionFactor?: number) => RotarySpec,
): RotarySpec {
  const original = p.positive("original_max_position_embeddings");
  const factor = p.optionalPositive("factor") ?? config.count("max_position_embeddings") / original;
  const magnitude = (scale: number, m = 1) => (scale <= 1 ? 1 : 0.1 * m * Math.log(scale) + 1);
  const mscale = p.optionalNumber("mscale");
  const mscaleAll = p.optionalNumber("mscale_all_dim");
  const attentionFactor =
    p.optionalPositive("attention_factor") ??
    (mscale && mscaleAll ? magnitude(factor, mscale) / magnitude(factor, mscaleAll) : magnitude(factor));

  const dimensionOf = (rotations: number) =>
    (dimension * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const truncate = p.boolean("truncate", true);
  const first = dimensionOf(p.optionalNumber("beta_fast") || 32);
  const last = dimensionOf(p.optionalNumber("beta_slow") || 1);
  const low = Math.max(truncate ? Math.floor(first) : first, 0);
  const high = Math.min(truncate ? Math.ceil(last) : last, dimension - 1);
  const width = high === low ? 0.001 : high - low;
  const frequencies = Float64Array.from({ length: dimension / 2 }, (_, i) => {
    const wave = round(theta ** round((2 * i) / dimension));
    const ramp = round(Math.min(Math.max((i - low) / width, 0), 1));
    return round((1 / (factor * wave)) * ramp + (1 / wave) * (1 - ramp));
  });
  return spec(frequencies, attentionFactor);
}

/** LongRoPE (arXiv 2402.13753): a factor per frequency, one set up to the original length and one beyond it. */
function longrope(
  p: ConfigReader,
  theta: number,
  dimension: number,
  config: ConfigReader,
  spec: (frequencies: Float64Array, attentionFactor?: number) => RotarySpec,
): RotarySpec {
  const original = p.count("original_max_position_embeddings");
  const factor = p.optionalPositive("factor") ?? config.count("max_position_embeddings") / original;
  const attentionFactor =
    p.optionalPositive("attention_factor") ??
    (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)));
  const stretched = (field: string) => {
    const factors = p.list(field);
    if (factors?.length !== dimension / 2 || !factors.every(Number.isFinite)) {
      throw p.invalid(field, `${dimension / 2} numbers`);
    }
    return Float64Array.from(factors as number[], (f, i) =>
      round(1 / round(f * round(theta ** round((2 * i) / dimension)))),
    );
  };
  const short = stretched("short_factor");
  const long = stretched("long_factor");
  return {
    ...spec(short, attentionFactor),
    inverseFrequenciesFor: (length) => (length > original ? long : short),
  };
}
