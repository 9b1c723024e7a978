import { readFile } from "node:fs/promises";
import { openTokenizer } from "@layerfold/checkpoint";
import { encodeJson, type FuzzTarget } from "../target.js";
import { tinyTokenizer, tinyTokenizerConfig } from "../tiny-model.js";

const foldling = new URL("../../../../../models/foldling/checkpoint/", import.meta.url);
const text = "The  dog\nate 12½ Ünïcode\u{1f600} <s> aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";

const unigram = {
  ...tinyTokenizer,
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  pre_tokenizer: {
    type: "Metaspace",
    replacement: "▁",
    add_prefix_space: true,
    prepend_scheme: "first",
    split: true,
  },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: {
    type: "Unigram",
    unk_id: 2,
    byte_fallback: true,
    vocab: [..."012▁abcdefghijklmnopqrstuvwxyz", "▁the", "<0x0A>", "<0xC3>"].map((token, i) => [
      i < 3 ? tinyTokenizer.added_tokens[i].content : token,
      -i / 4,
    ]),
  },
};
const wordPiece = {
  ...tinyTokenizer,
  normalizer: {
    type: "BertNormalizer",
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: "BertPreTokenizer" },
  post_processor: null,
  decoder: { type: "WordPiece", prefix: "##", cleanup: true },
  model: {
    type: "WordPiece",
    unk_token: "<unk>",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: { "<s>": 0, "</s>": 1, "<unk>": 2, the: 3, d: 4, "##o": 5, "##g": 6 },
  },
};

/** tokenizer.json and what stands beside it. */
export const tokenizer: FuzzTarget = {
  id: "tokenizer",
  async starts() {
    const beside: [string, Uint8Array][] = [
      ["tokenizer_config.json", encodeJson(tinyTokenizerConfig)],
      ["special_tokens_map.json", encodeJson({ bos_token: "<s>", pad_token: { content: "<unk>" } })],
      ["config.json", encodeJson({ bos_token_id: 0, eos_token_id: [1], pad_token_id: null })],
    ];
    const real = new Uint8Array(await readFile(new URL("tokenizer.json", foldling)));
    // The small ones more often: there, more places matter.
    return [
      ...[tinyTokenizer, unigram, wordPiece].flatMap((model) => [encodeJson(model), encodeJson(model)]),
      real,
    ].map((model) => new Map([["tokenizer.json", model], ...beside]));
  },
  async read(folder) {
    const tokenizer = await openTokenizer(folder);
    for (const addSpecialTokens of [false, true]) {
      const ids = tokenizer.encode(text, { addSpecialTokens });
      if (!ids.every((id) => Number.isSafeInteger(id) && id >= 0))
        throw new Error("token ids that are no ids");
      tokenizer.decode(ids, { skipSpecialTokens: addSpecialTokens });
    }
    tokenizer.idOf("<s>");
  },
};
