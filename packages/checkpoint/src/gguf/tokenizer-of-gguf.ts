import { LayerfoldError } from "@layerfold/core";
import { byteLevel, type PreTokenizer, preTokenizers } from "./pre-tokenizers.js";

type Json = Record<string, unknown>;

/** What `tokenizer.ggml.token_type` says of a token. */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;
const { unknown: unknownType, control, userDefined } = tokenTypes;

const space = "▁";

/** Longest piece of a SentencePiece vocabulary that is taken apart; its own limit is 16 unless it is told otherwise. */
const longestPiece = 512;

/**
 * tokenizer.json and tokenizer_config.json from a GGUF file's metadata: byte-level BPE ("gpt2") and SentencePiece ("llama").
 * @param vocabularySize - rows of the embedding
 * @throws GGUF_TOKENIZER for a model or a pre-tokenizer that is not known, or lists that do not fit
 */
export function tokenizerOfGguf(
  metadata: Readonly<Record<string, unknown>>,
  vocabularySize: number,
  file: string,
): { "tokenizer.json": Json; "tokenizer_config.json": Json } {
  const read = <T>(key: string) => metadata[`tokenizer.ggml.${key}`] as T | undefined;
  const kind = read<string>("model");
  if (kind !== "gpt2" && kind !== "llama")
    throw refused("unknown tokenizer", "gpt2 or llama", kind, file, "model");
  const stored = list(metadata, "tokens", isString, file);
  const types = list(metadata, "token_type", isNumber, file);
  if (stored.length === 0 || stored.length > vocabularySize || types.length !== stored.length) {
    const wanted = `1 to ${vocabularySize} tokens, as the embedding has rows, and one token_type for each`;
    throw refused("the file has no usable tokenizer", wanted, `${stored.length} and ${types.length}`, file);
  }
  const tokens = kind === "llama" ? withSpacePieces(stored, types) : stored;
  const token = (name: string) => tokens[Number(read(`${name}_token_id`) ?? -1)] as string | undefined;
  const [begin, end] = [token("bos"), token("eos")];
  const pre = preTokenizers[read<string>("pre") ?? "default"];
  if (kind === "gpt2" && !pre)
    throw refused("unknown pre-tokenizer", Object.keys(preTokenizers).join(", "), read("pre"), file, "pre");
  const parts =
    kind === "gpt2"
      ? byteLevelParts(tokens, list(metadata, "merges", isString, file), pre, file)
      : sentencePieceParts(
          tokens,
          // The converter gives a user-defined piece -1000; SentencePiece itself takes it before any other, as its 0 says.
          list(metadata, "scores", isNumber, file).map((score, id) =>
            types[id] === userDefined ? 0 : score,
          ),
          token("unknown") ?? tokens[types.indexOf(unknownType)],
          read("add_space_prefix") ?? true,
          file,
        );
  const addsBegin = read<boolean>("add_bos_token") ?? (kind === "llama" || (pre.addsBegin ?? false));
  const settings = {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: begin,
    eos_token: end,
    unk_token: token("unknown"),
    pad_token: token("padding"),
    chat_template: metadata["tokenizer.chat_template"],
    clean_up_tokenization_spaces: false,
  };
  const phi3 = kind === "llama" && metadata["general.architecture"] === "phi3";
  return {
    "tokenizer.json": {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: tokens.flatMap((content, id) =>
        ([unknownType, control, userDefined] as number[]).includes(types[id])
          ? [
              {
                id,
                content,
                single_word: false,
                lstrip: false,
                // Not in the file: llama.cpp knows Phi-3's by the model's name.
                rstrip: phi3 && !["<unk>", "<s>", "<|endoftext|>"].includes(content),
                normalized: false,
                special: types[id] !== userDefined,
              },
            ]
          : [],
      ),
      ...parts,
      post_processor: template(
        addsBegin ? begin : undefined,
        read<boolean>("add_eos_token") ? end : undefined,
        tokens,
      ),
    },
    "tokenizer_config.json": Object.fromEntries(
      Object.entries(settings).filter(([, value]) => value !== undefined),
    ),
  };
}

function refused(reason: string, wanted: string, got: unknown, file: string, key?: string): LayerfoldError {
  const where = key ? `${file}, tokenizer.ggml.${key}` : file;
  return new LayerfoldError("GGUF_TOKENIZER", reason, { wanted, got: String(got).slice(0, 80), where });
}

/** A list of the tokenizer's, of which every element is as wanted; empty where it is absent. */
function list<T>(
  metadata: Readonly<Record<string, unknown>>,
  key: string,
  isWanted: (element: unknown) => element is T,
  file: string,
): readonly T[] {
  const found = metadata[`tokenizer.ggml.${key}`] ?? [];
  if (Array.isArray(found) && found.every(isWanted)) return found;
  throw refused("the file has no usable tokenizer", "a list of one type", found, file, key);
}

const isString = (element: unknown): element is string => typeof element === "string";
const isNumber = (element: unknown): element is number => typeof element === "number";

/** llama.cpp's converter writes pieces of spaces alone, where they are user-defined, with spaces: back to what they are merged from. */
function withSpacePieces(tokens: readonly string[], types: readonly number[]): readonly string[] {
  const taken = new Set(tokens);
  return tokens.map((token, id) => {
    const piece = token.replaceAll(" ", space);
    return types[id] === userDefined && /^ +$/.test(token) && !taken.has(piece) ? piece : token;
  });
}

function byteLevelParts(
  tokens: readonly string[],
  merges: readonly string[],
  { cut, normalizer, ignoreMerges }: PreTokenizer,
  file: string,
): Json {
  return {
    normalizer: normalizer ?? null,
    pre_tokenizer: cut,
    decoder: byteLevel,
    model: bpe(
      tokens,
      merges.map((merge) => cutMerge(merge, file)),
      { ignore_merges: ignoreMerges ?? false },
    ),
  };
}

/** A pair is written with a space between; a token may itself begin with one, so the first space that is not the first letter counts. */
function cutMerge(merge: string, file: string): [string, string] {
  const at = merge.indexOf(" ", 1);
  if (at < 0) throw refused("cannot use a merge", "two tokens with a space between", merge, file, "merges");
  return [merge.slice(0, at), merge.slice(at + 1)];
}

/** SentencePiece's pieces as BPE: every way to put a piece together from two others, the best-scored pieces first. */
function sentencePieceParts(
  tokens: readonly string[],
  scores: readonly number[],
  unknown: string | undefined,
  prefix: boolean,
  file: string,
): Json {
  if (scores.length !== tokens.length)
    throw refused("a SentencePiece vocabulary has scores", `${tokens.length}`, scores.length, file, "scores");
  const ids = new Map(tokens.map((piece, id) => [piece, id]));
  const merges: { pair: [string, string]; score: number; piece: number; left: number; right: number }[] = [];
  tokens.forEach((token, piece) => {
    const letters = [...token];
    if (letters.length > longestPiece)
      throw refused("cannot use a piece", `at most ${longestPiece} letters`, letters.length, file, "tokens");
    for (let at = 1; at < letters.length; at++) {
      const pair: [string, string] = [letters.slice(0, at).join(""), letters.slice(at).join("")];
      const [left, right] = [ids.get(pair[0]), ids.get(pair[1])];
      if (left !== undefined && right !== undefined)
        merges.push({ pair, score: scores[piece], piece, left, right });
    }
  });
  merges.sort((a, b) => b.score - a.score || a.piece - b.piece || a.left - b.left || a.right - b.right);
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

function template(
  begin: string | undefined,
  end: string | undefined,
  tokens: readonly string[],
): Json | null {
  const added = [begin, end].filter((token) => token !== undefined);
  if (added.length === 0) return null;
  const special = (token?: string) =>
    token === undefined ? [] : [{ SpecialToken: { id: token, type_id: 0 } }];
  const text = (name: string, type: number) => [
    ...special(begin),
    { Sequence: { id: name, type_id: type } },
    ...special(end),
  ];
  return {
    type: "TemplateProcessing",
    single: text("A", 0),
    pair: [...text("A", 0), ...text("B", 1)],
    special_tokens: Object.fromEntries(
      added.map((token) => [token, { id: token, ids: [tokens.indexOf(token)], tokens: [token] }]),
    ),
  };
}
