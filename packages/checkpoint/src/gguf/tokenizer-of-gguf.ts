import { LayerfoldError } from "@layerfold/core";

type Json = Record<string, unknown>;

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

const split = (pattern: string) => ({
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
    { ...byteLevel, use_regex: false },
  ],
});
const digitsAlone = {
  type: "Sequence",
  pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel],
};
const words = (numbers: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

/** What llama.cpp's `tokenizer.ggml.pre` stands for: how text is cut before pairs are merged. */
const preTokenizers: Record<
  string,
  { readonly cut: Json; readonly normalizer?: Json; readonly ignoreMerges?: boolean }
> = {
  default: { cut: byteLevel },
  "gpt-2": { cut: byteLevel },
  smollm: { cut: digitsAlone },
  starcoder: { cut: digitsAlone },
  refact: { cut: digitsAlone },
  "command-r": { cut: digitsAlone },
  "llama-bpe": { cut: split(words("\\p{N}{1,3}")), ignoreMerges: true },
  qwen2: { cut: split(words("\\p{N}")), normalizer: { type: "NFC" } },
};

// tokenizer.ggml.token_type
const control = 3;
const userDefined = 4;

/**
 * tokenizer.json and tokenizer_config.json from a GGUF file's metadata: byte-level BPE ("gpt2") and SentencePiece ("llama").
 * @throws GGUF_TOKENIZER for a model or a pre-tokenizer that is not known, or lists that do not fit
 */
export function tokenizerOfGguf(
  metadata: Readonly<Record<string, unknown>>,
  file: string,
): { "tokenizer.json": Json; "tokenizer_config.json": Json } {
  const read = <T>(key: string) => metadata[`tokenizer.ggml.${key}`] as T | undefined;
  const tokens = read<string[]>("tokens") ?? [];
  const types = read<number[]>("token_type") ?? [];
  const kind = read<string>("model");
  if (tokens.length === 0 || types.length !== tokens.length) {
    throw new LayerfoldError("GGUF_TOKENIZER", "the file has no usable tokenizer", {
      wanted: "tokenizer.ggml.tokens and one token_type for each",
      got: `${tokens.length} and ${types.length}`,
      where: file,
    });
  }
  const token = (name: string) => tokens[Number(read(`${name}_token_id`) ?? -1)] as string | undefined;
  const begin = token("bos");
  const parts =
    kind === "gpt2"
      ? byteLevelParts(tokens, read("merges") ?? [], read("pre") ?? "default", file)
      : kind === "llama"
        ? sentencePieceParts(tokens, read("scores") ?? [], token("unknown"), read("add_space_prefix") ?? true)
        : undefined;
  if (!parts) {
    throw new LayerfoldError("GGUF_TOKENIZER", "unknown tokenizer", {
      wanted: "gpt2 or llama",
      got: kind,
      where: file,
    });
  }
  const adds = begin !== undefined && (read<boolean>("add_bos_token") ?? kind === "llama");
  const settings = {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: begin,
    eos_token: token("eos"),
    unk_token: token("unknown"),
    pad_token: token("padding"),
    chat_template: metadata["tokenizer.chat_template"],
    clean_up_tokenization_spaces: false,
  };
  return {
    "tokenizer.json": {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: tokens.flatMap((content, id) =>
        types[id] === control || types[id] === userDefined
          ? [
              {
                id,
                content,
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special: types[id] === control,
              },
            ]
          : [],
      ),
      ...parts,
      post_processor: adds ? beginTemplate(begin, tokens.indexOf(begin)) : null,
    },
    "tokenizer_config.json": Object.fromEntries(
      Object.entries(settings).filter(([, value]) => value !== undefined),
    ),
  };
}

function byteLevelParts(
  tokens: readonly string[],
  merges: readonly string[],
  pre: string,
  file: string,
): Json {
  const known = preTokenizers[pre];
  if (!known) {
    throw new LayerfoldError("GGUF_TOKENIZER", "unknown pre-tokenizer", {
      wanted: Object.keys(preTokenizers).join(", "),
      got: pre,
      where: `${file}, tokenizer.ggml.pre`,
    });
  }
  return {
    normalizer: known.normalizer ?? null,
    pre_tokenizer: known.cut,
    decoder: byteLevel,
    model: bpe(tokens, merges.map(cutMerge), { ignore_merges: known.ignoreMerges ?? false }),
  };
}

/** A pair is written with a space between; a token may itself begin with one, so the first space that is not the first letter counts. */
function cutMerge(merge: string): [string, string] {
  const at = merge.indexOf(" ", 1);
  return [merge.slice(0, at), merge.slice(at + 1)];
}

/** SentencePiece's pieces as BPE: every way to put a piece together from two others, the best-scored pieces first. */
function sentencePieceParts(
  tokens: readonly string[],
  scores: readonly number[],
  unknown: string | undefined,
  prefix: boolean,
): Json {
  const ids = new Map(tokens.map((piece, id) => [piece, id]));
  const merges: { pair: [string, string]; score: number; piece: number; left: number; right: number }[] = [];
  tokens.forEach((token, piece) => {
    const letters = [...token];
    for (let at = 1; at < letters.length; at++) {
      const pair: [string, string] = [letters.slice(0, at).join(""), letters.slice(at).join("")];
      const [left, right] = [ids.get(pair[0]), ids.get(pair[1])];
      if (left !== undefined && right !== undefined)
        merges.push({ pair, score: scores[piece], piece, left, right });
    }
  });
  merges.sort((a, b) => b.score - a.score || a.piece - b.piece || a.left - b.left || a.right - b.right);
  const space = "▁";
  const steps = [{ type: "Replace", pattern: { String: " " }, content: space }];
  return {
    normalizer: {
      type: "Sequence",
      normalizers: prefix ? [{ type: "Prepend", prepend: space }, ...steps] : steps,
    },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: space }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: bpe(
      tokens,
      merges.map(({ pair }) => pair),
      { unk_token: unknown ?? null, fuse_unk: true, byte_fallback: true },
    ),
  };
}

function bpe(tokens: readonly string[], merges: readonly [string, string][], options: Json): Json {
  return {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    ...options,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
  };
}

function beginTemplate(token: string, id: number): Json {
  const begin = { SpecialToken: { id: token, type_id: 0 } };
  const sequence = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } });
  return {
    type: "TemplateProcessing",
    single: [begin, sequence("A", 0)],
    pair: [begin, sequence("A", 0), begin, sequence("B", 1)],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}
