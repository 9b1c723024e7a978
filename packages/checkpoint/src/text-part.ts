import { LayerfoldError, type RunContext } from "@layerfold/core";
import { readConfig } from "./config-reader.js";
import { knownModelTypes } from "./families.js";
import type { ModelConfig } from "./family.js";
import type { SafetensorsFile } from "./safetensors.js";

/** The language model inside a model of text and images, as a checkpoint of its own. */
export interface TextPart {
  readonly config: ModelConfig;
  /** Its tensor's own name; undefined for one of another part. */
  nameOf(tensor: string): string | undefined;
}

/** What transformers' `Gemma3TextConfig` (5.24) takes a field for that is not there: the hub's configs say only what differs. */
const gemma3Defaults: ModelConfig = {
  vocab_size: 262_208,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  hidden_activation: "gelu_pytorch_tanh",
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-6,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
  bos_token_id: 2,
  eos_token_id: 1,
  pad_token_id: 0,
};

/** Fields that a whole model says for its language model. */
const shared = [
  "tie_word_embeddings",
  "bos_token_id",
  "eos_token_id",
  "pad_token_id",
  "quantization_config",
  "dtype",
  "torch_dtype",
  "transformers_version",
];

/**
 * The language model of a `gemma3` checkpoint (Gemma3ForConditionalGeneration) as the `gemma3_text` that it is; undefined for a
 * checkpoint that is no such composite.
 * @throws CONFIG_INVALID; ARCHITECTURE_COMPOSITE for composites of other kinds
 */
export function textPartOf(config: ModelConfig): TextPart | undefined {
  const c = readConfig(config);
  const text = c.has("text_config") ? c.object("text_config") : undefined;
  const type = config.model_type;
  if (!text || typeof type !== "string" || knownModelTypes().includes(type)) return undefined;
  if (type !== "gemma3") {
    throw new LayerfoldError("ARCHITECTURE_COMPOSITE", "the model is more than a language model", {
      wanted:
        `its language model alone, saved by Python: ` +
        `AutoModel.from_pretrained(…).language_model.save_pretrained("OUT"), where its type is one that layerfold knows`,
      got: `${type} around ${text.model_type ?? "a text_config"}`,
      where: "config.json, text_config",
    });
  }
  const given = Object.fromEntries(
    shared.flatMap((field) => (config[field] == null ? [] : [[field, config[field]]])),
  );
  return {
    config: {
      ...gemma3Defaults,
      ...given,
      ...text,
      architectures: ["Gemma3ForCausalLM"],
      model_type: "gemma3_text",
    },
    nameOf(tensor) {
      // The hub's files have the first form; what transformers holds in memory since 4.52, and some files, the second.
      const inner = /^(?:language_model\.model|model\.language_model)\.(.+)$/.exec(tensor)?.[1];
      if (inner !== undefined) return `model.${inner}`;
      return /^(?:language_model\.)?lm_head\.weight$/.test(tensor) ? "lm_head.weight" : undefined;
    },
  };
}

/** A file of the whole model with the language model's tensors alone, by their own names. */
export function textPartFile(file: SafetensorsFile, { nameOf }: TextPart): SafetensorsFile {
  const original = new Map<string, string>();
  const tensors = new Map(
    [...file.tensors].flatMap(([stored, tensor]) => {
      const name = nameOf(stored);
      if (name === undefined) return [];
      original.set(name, stored);
      return [[name, { ...tensor, name }] as const];
    }),
  );
  const storedName = (name: string) => original.get(name) ?? name;
  return {
    ...file,
    tensors,
    read: (name) => file.read(storedName(name)),
    readBytes: (name, ...part) => file.readBytes(storedName(name), ...part),
  };
}

/** Says that the rest is left out. */
export function reportTextPart(config: ModelConfig, report: RunContext["report"]): void {
  report?.({
    type: "diagnostic",
    severity: "info",
    code: "TEXT_PART",
    message: `${config.model_type} is a model of text and images: its language model alone is used and written`,
  });
}
