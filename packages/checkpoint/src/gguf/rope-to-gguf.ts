import { type Architecture, LayerfoldError, type RotarySpec } from "@layerfold/core";
import { rotaryOf } from "../rope.js";
import type { GgufArchitecture } from "./gguf-architecture.js";
import type { GgufEntry } from "./write-header.js";

/** A rotary scaling as a GGUF file has it: entries, and small tensors by name. */
export interface WrittenRope {
  readonly entries: ReadonlyMap<string, GgufEntry>;
  readonly tensors: ReadonlyMap<string, Float32Array>;
}

/**
 * How a GGUF file says what `ropeScalingOf` reads. Of layers with a full and a sliding window, llama.cpp scales the full ones.
 * @throws GGUF_ROPE where llama.cpp has no such scaling, or does not know it for this architecture
 */
export function ropeToGguf(description: GgufArchitecture, architecture: Architecture): WrittenRope {
  const entries = new Map<string, GgufEntry>();
  const tensors = new Map<string, Float32Array>();
  const attention = architecture.blocks.flatMap(({ mixer }) =>
    mixer.kind === "attention" && mixer.rotary ? [{ ...mixer, rotary: mixer.rotary }] : [],
  );
  const rotary = (attention.find(({ slidingWindow }) => slidingWindow === undefined) ?? attention[0])?.rotary;
  if (!description.rotary || !rotary) return { entries, tensors };
  const parameters = rotary.parameters ?? {};
  const type = String(parameters.rope_type ?? "default");
  const original = Number(parameters.original_max_position_embeddings);
  const put = (key: string, entry: GgufEntry) =>
    entries.set(`${description.name}.rope.scaling.${key}`, entry);
  if ((type === "llama3" || type === "longrope") && !description.ropeFactors)
    throw unknown(type, description);
  switch (type) {
    case "default":
      break;
    case "linear":
      put("type", { type: "string", value: "linear" });
      put("factor", { type: "float32", value: Number(parameters.factor) });
      break;
    case "yarn": {
      const factor = Number(parameters.factor ?? architecture.maxPositionEmbeddings / original);
      put("type", { type: "string", value: "yarn" });
      put("factor", { type: "float32", value: factor });
      put("original_context_length", { type: "uint32", value: original });
      // What llama.cpp multiplies by itself, and then by this.
      const own = rotary.attentionFactor / yarnAttentionFactor(factor);
      if (Math.abs(own - 1) > 1e-6) put("attn_factor", { type: "float32", value: own });
      break;
    }
    case "llama3":
      tensors.set("rope_freqs.weight", divisorsOf(rotary, Number(parameters.factor)));
      break;
    case "longrope":
      put("attn_factor", { type: "float32", value: rotary.attentionFactor });
      tensors.set("rope_factors_long.weight", Float32Array.from(parameters.long_factor as number[]));
      tensors.set("rope_factors_short.weight", Float32Array.from(parameters.short_factor as number[]));
      break;
    default:
      throw unknown(type, description);
  }
  return { entries, tensors };
}

/** YaRN's factor on attention where nothing else is said (arXiv 2309.00071). */
export function yarnAttentionFactor(factor: number): number {
  return factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1;
}

function unknown(type: string, { name, ropeFactors }: GgufArchitecture): LayerfoldError {
  return new LayerfoldError(
    "GGUF_ROPE",
    "llama.cpp does not know this rotary scaling for this architecture",
    {
      wanted: `linear, yarn${ropeFactors ? ", llama3, longrope" : ""}, or none`,
      got: type,
      where: `config.json, for ${name}`,
    },
  );
}

/** What Llama 3.1's scaling divides every frequency by: 1, the factor, or something between. */
function divisorsOf(
  { inverseFrequencies, rotaryDimension, parameters }: RotarySpec,
  factor: number,
): Float32Array {
  const base = { rope_theta: parameters?.rope_theta, max_position_embeddings: 1 };
  const plain = rotaryOf(base, { headSize: rotaryDimension }).inverseFrequencies;
  return Float32Array.from(plain, (frequency, i) => {
    const divisor = frequency / inverseFrequencies[i];
    // Frequencies are rounded to float32; the ends are exact.
    return [1, factor].find((end) => Math.abs(divisor / end - 1) < 1e-6) ?? divisor;
  });
}
