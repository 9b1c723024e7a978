import { LayerfoldError } from "@layerfold/core";
import type { ModelConfig } from "../family.js";
import { rotaryOf } from "../rope.js";
import type { GgufFile } from "./read-gguf.js";

/** What an architecture of llama.cpp is called and how it differs in a config. */
interface GgufArchitecture {
  readonly modelType: string;
  readonly className: string;
  /** llama.cpp stores q and k with rotary pairs side by side, where transformers has the halves of a head. */
  readonly interleavedRotary: boolean;
  readonly config?: (gguf: GgufFile) => ModelConfig;
}

const architectures: Record<string, GgufArchitecture> = {
  llama: {
    modelType: "llama",
    className: "LlamaForCausalLM",
    interleavedRotary: true,
    config: ({ tensors }) => ({
      attention_bias: tensors.has("blk.0.attn_q.bias"),
      mlp_bias: tensors.has("blk.0.ffn_up.bias"),
    }),
  },
  qwen2: { modelType: "qwen2", className: "Qwen2ForCausalLM", interleavedRotary: false },
  qwen3: {
    modelType: "qwen3",
    className: "Qwen3ForCausalLM",
    interleavedRotary: false,
    config: ({ tensors }) => ({ attention_bias: tensors.has("blk.0.attn_q.bias") }),
  },
};

/**
 * The config.json that a GGUF file's metadata amount to.
 * @throws GGUF_ARCHITECTURE for one that is not known, GGUF_SPLIT, GGUF_METADATA for a missing or unusable entry, GGUF_ROPE for a scaling without a
 * name in transformers
 */
export async function configOfGguf(
  gguf: GgufFile,
  file: string,
): Promise<{ config: ModelConfig; interleavedRotary: boolean }> {
  const { metadata, tensors } = gguf;
  const name = String(metadata["general.architecture"]);
  const known = architectures[name];
  if (!known || metadata[`${name}.expert_count`]) {
    throw new LayerfoldError("GGUF_ARCHITECTURE", "cannot import this architecture", {
      wanted: `${Object.keys(architectures).join(", ")}, without experts`,
      got: known ? `${name} with experts` : name,
      where: file,
    });
  }
  if (Number(metadata["split.count"] ?? 1) > 1) {
    throw new LayerfoldError(
      "GGUF_SPLIT",
      "one part of a split file; llama.cpp's `llama-gguf-split --merge` joins them",
      {
        wanted: "a whole file",
        got: `one of ${metadata["split.count"]} parts`,
        where: file,
      },
    );
  }
  const read = (key: string, fallback?: number) => {
    const value = Number(metadata[`${name}.${key}`] ?? fallback);
    if (Number.isFinite(value)) return value;
    throw new LayerfoldError("GGUF_METADATA", `no number ${name}.${key}`, { where: file });
  };
  const hiddenSize = read("embedding_length");
  const heads = read("attention.head_count");
  const headSize = read("attention.key_length", hiddenSize / heads);
  if (read("rope.dimension_count", headSize) !== headSize) {
    throw new LayerfoldError("GGUF_METADATA", "cannot import a partial rotary embedding", {
      wanted: `${headSize} dimensions`,
      got: `${read("rope.dimension_count")}`,
      where: `${file}, ${name}.rope.dimension_count`,
    });
  }
  const id = (token: string) => Number(metadata[`tokenizer.ggml.${token}_token_id`] ?? Number.NaN);
  const ids = { bos_token_id: id("bos"), eos_token_id: id("eos"), pad_token_id: id("padding") };
  const config = {
    architectures: [known.className],
    model_type: known.modelType,
    hidden_size: hiddenSize,
    intermediate_size: read("feed_forward_length"),
    num_hidden_layers: read("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: read("attention.head_count_kv", heads),
    head_dim: headSize,
    hidden_act: "silu",
    vocab_size: tensors.get("token_embd.weight")?.shape[0] ?? read("vocab_size"),
    max_position_embeddings: read("context_length"),
    rms_norm_eps: shortest(read("attention.layer_norm_rms_epsilon", 1e-6)),
    rope_theta: shortest(read("rope.freq_base", 10_000)),
    rope_scaling: await ropeScaling(gguf, name, file, { base: read("rope.freq_base", 10_000), headSize }),
    tie_word_embeddings: !tensors.has("output.weight"),
    ...Object.fromEntries(Object.entries(ids).filter(([, value]) => Number.isInteger(value))),
    ...known.config?.(gguf),
  };
  return { config, interleavedRotary: known.interleavedRotary };
}

/** The shortest decimal that is the same float32: metadata hold 1e-5 as 9.999999747378752e-6. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === Math.fround(value)) return decimal;
  }
  return value;
}

async function ropeScaling(
  gguf: GgufFile,
  name: string,
  file: string,
  rotary: { base: number; headSize: number },
): Promise<ModelConfig | null> {
  const { metadata, tensors } = gguf;
  const type = metadata[`${name}.rope.scaling.type`] ?? "none";
  const factor = Number(metadata[`${name}.rope.scaling.factor`] ?? 1);
  const original = metadata[`${name}.rope.scaling.original_context_length`];
  if (tensors.has("rope_freqs.weight"))
    return llama3Scaling(await gguf.read("rope_freqs.weight"), rotary, file);
  if (type === "none") return null;
  if (type === "linear") return { rope_type: "linear", factor };
  if (type === "yarn")
    return { rope_type: "yarn", factor, original_max_position_embeddings: Number(original) };
  throw new LayerfoldError("GGUF_ROPE", "unknown rotary scaling", {
    wanted: "linear, yarn",
    got: `${type}`,
    where: file,
  });
}

/** llama.cpp keeps Llama 3.1's scaling as the divisors it comes to; all such models have these bounds, and the largest is the factor. */
function llama3Scaling(
  divisors: Float32Array,
  { base, headSize }: { base: number; headSize: number },
  file: string,
): ModelConfig {
  const factor = shortest(Math.max(...divisors));
  const bounds = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  const parameters = { rope_type: "llama3", factor, ...bounds };
  const config = { rope_theta: base, max_position_embeddings: 8192 };
  const plain = rotaryOf(config, { headSize }).inverseFrequencies;
  const scaled = rotaryOf({ ...config, rope_scaling: parameters }, { headSize }).inverseFrequencies;
  const off = plain.findIndex((frequency, i) => Math.abs(frequency / scaled[i] / divisors[i] - 1) > 1e-4);
  if (plain.length === divisors.length && off < 0) return parameters;
  throw new LayerfoldError("GGUF_ROPE", "cannot name the rotary scaling behind rope_freqs.weight", {
    wanted: "Llama 3.1's, with bounds 1 and 4 and 8,192 original positions",
    where: file,
  });
}
