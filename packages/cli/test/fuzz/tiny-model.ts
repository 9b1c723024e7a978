import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { type ModelConfig, openCheckpoint, randomTensors, writeCheckpoint } from "@layerfold/checkpoint";
import { seededRng } from "@layerfold/linalg";
import { readFiles } from "./read-files.js";

/** The smallest llama that every part of the product runs: two layers of width 16. */
export const tinyLlama: ModelConfig = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  dtype: "float32",
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 64,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  rope_scaling: null,
  hidden_act: "silu",
  attention_bias: false,
  mlp_bias: false,
  bos_token_id: 0,
  eos_token_id: [1, 2],
  tie_word_embeddings: false,
};

const quoted = (token: string) => ({
  content: token,
  lstrip: false,
  normalized: false,
  rstrip: false,
  single_word: false,
  special: true,
});
const letters = [..."abcdefghijklmnopqrstuvwxyz.,ĠĊ"];
const merges = ["Ġ t", "h e", "Ġt he", "a n", "Ġ a", "i n", "o n", "e r"];
const specials = ["<s>", "</s>", "<unk>"];

/** A byte-level BPE tokenizer of 41 tokens, as transformers writes one. */
export const tinyTokenizer = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: specials.map((token, id) => ({ id, ...quoted(token) })),
  normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Lowercase" }] },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: "\\s+(?!\\S)|\\p{N}|\\S+" }, behavior: "Isolated", invert: false },
      { type: "Digits", individual_digits: true },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    ],
  },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
  },
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: Object.fromEntries(
      [...specials, ...letters, ...merges.map((pair) => pair.replace(" ", ""))].map((token, id) => [
        token,
        id,
      ]),
    ),
    merges: merges.map((pair) => pair.split(" ")),
  },
};

export const tinyTokenizerConfig = {
  tokenizer_class: "PreTrainedTokenizerFast",
  bos_token: "<s>",
  eos_token: quoted("</s>"),
  unk_token: "<unk>",
  add_bos_token: true,
  model_max_length: 32,
  clean_up_tokenization_spaces: false,
  chat_template:
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ message['content'] | trim }}" +
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}{% if add_generation_prompt %}a{% endif %}",
};

/** Whatever `make` writes into an empty folder. */
export async function madeFiles(
  scratch: string,
  make: (folder: string) => Promise<unknown>,
): Promise<Map<string, Uint8Array>> {
  const folder = await mkdtemp(join(scratch, "making-"));
  try {
    await make(folder);
    return await readFiles(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A checkpoint of random weights, with a tokenizer. */
export function modelFiles(
  scratch: string,
  config: ModelConfig = tinyLlama,
  options: { readonly maxShardBytes?: number } = {},
): Promise<Map<string, Uint8Array>> {
  return madeFiles(scratch, (folder) =>
    writeCheckpoint(join(folder), {
      config,
      tensors: randomTensors(config, seededRng(0), "float32"),
      extraFiles: {
        "tokenizer.json": JSON.stringify(tinyTokenizer),
        "tokenizer_config.json": JSON.stringify(tinyTokenizerConfig),
      },
      ...options,
    }),
  );
}

export async function withCheckpoint<T>(
  folder: string,
  use: (checkpoint: Awaited<ReturnType<typeof openCheckpoint>>) => Promise<T>,
): Promise<T> {
  const checkpoint = await openCheckpoint(folder);
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}
