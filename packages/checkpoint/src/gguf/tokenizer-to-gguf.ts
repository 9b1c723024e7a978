import { join } from "node:path";
import { LayerfoldError, type RunContext } from "@layerfold/core";
import { endTokens } from "../end-tokens.js";
import type { ModelConfig } from "../family.js";
import { ifThere, readJsonObject } from "../json-file.js";
import { hubTokenizer, openTokenizer, type Tokenizer } from "../tokenizer.js";
import { namePreTokenizer } from "./name-pre-tokenizer.js";
import { preTokenizerProbe } from "./pre-tokenizer-hashes.js";
import { tokenizerOfGguf, tokenTypes } from "./tokenizer-of-gguf.js";
import type { GgufEntry } from "./write-header.js";

type Json = Record<string, unknown>;

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
  /** Takes white space before or after it away. */
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
}

/** What the tokenizer's files say. */
interface TokenizerFile {
  readonly json: Json;
  readonly model: Json;
  readonly tokenizer: Tokenizer;
  readonly where: string;
}

/** What of the model matters to its tokenizer in llama.cpp. */
interface WrittenModel {
  /** Rows of the embedding; tokens that are missing get names without use. */
  readonly vocabularySize: number;
  /** `general.architecture`. */
  readonly architecture: string;
  /** What people call it. */
  readonly name: string;
}

/** Tokens that llama.cpp ends a text at whatever the file says (llama-vocab.cpp). */
const knownEnds = new Set(
  "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos>".split(
    " ",
  ),
);

/** What a token that nothing stands for is called; of pieces without a rank, and of those that text is never merged into. */
const unusedScore = -10_000;
const addedScore = -1000;

/**
 * The entries of a checkpoint's tokenizer: what `tokenizerOfGguf` reads, and the model's name, on which llama.cpp lets some of it depend. What
 * would be read of them is held against the tokenizer on text of many kinds first.
 *
 * @throws TOKENIZER_MISSING, TOKENIZER_INVALID; GGUF_TOKENIZER for a kind or a rule that a GGUF file cannot say, or a token without a row
 */
export async function tokenizerToGguf(
  checkpoint: { readonly directory: string; readonly config: ModelConfig },
  { vocabularySize, architecture, name }: WrittenModel,
  report?: RunContext["report"],
): Promise<Map<string, GgufEntry>> {
  const { directory } = checkpoint;
  const where = join(directory, "tokenizer.json");
  const tokenizer = await openTokenizer(directory);
  const json = await readJsonObject(where, "TOKENIZER_INVALID");
  const file: TokenizerFile = { json, model: (json.model ?? {}) as Json, tokenizer, where };
  const kind = kindOf(file);
  const { tokens, types } = vocabularyOf(file, kind, vocabularySize);
  const entries = new Map<string, GgufEntry>([
    ["general.name", { type: "string", value: nameFor(name, architecture, file, report) }],
  ]);
  const put = (key: string, entry: GgufEntry) => entries.set(`tokenizer.ggml.${key}`, entry);
  put("model", { type: "string", value: kind });
  const merges = mergesOf(file);
  if (kind === "gpt2") {
    const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: true });
    put("pre", { type: "string", value: namePreTokenizer(json, encode, where) });
    put("tokens", { type: "string", value: tokens });
    put("token_type", { type: "int32", value: types });
    put("merges", { type: "string", value: merges.map((pair) => pair.join(" ")) });
  } else {
    put("pre", { type: "string", value: "default" });
    put("tokens", { type: "string", value: tokens });
    put("scores", { type: "float32", value: scoresOf(tokens, types, merges) });
    put("token_type", { type: "int32", value: types });
    const first = tokens[tokenizer.encode("a")[0]] ?? "";
    put("add_space_prefix", { type: "bool", value: first.startsWith("▁") });
  }
  for (const [key, entry] of await specialEntries(checkpoint, file, tokens, report)) entries.set(key, entry);
  checkReadBack(entries, architecture, vocabularySize, file);
  return entries;
}

/** `gpt2` for byte-level BPE, `llama` for SentencePiece's, as llama.cpp calls them. @throws GGUF_TOKENIZER */
function kindOf({ json, model, where }: TokenizerFile): "gpt2" | "llama" {
  const spells = (part: unknown, type: string): boolean =>
    JSON.stringify(part ?? null).includes(`"type":"${type}"`);
  const byteLevel = spells(json.pre_tokenizer, "ByteLevel") || spells(json.decoder, "ByteLevel");
  if (model.type === "BPE" && byteLevel) return "gpt2";
  if (model.type === "BPE" && model.byte_fallback === true) return "llama";
  throw new LayerfoldError("GGUF_TOKENIZER", "a GGUF file cannot say this kind of tokenizer", {
    wanted: "byte-level BPE, or BPE that falls back to bytes (SentencePiece)",
    got: String(model.type ?? "a model without a type").slice(0, 80),
    where,
  });
}

/** Tokens by id, and their types. @throws GGUF_TOKENIZER where there are more than rows, or two with one id */
function vocabularyOf({ json, model, where }: TokenizerFile, kind: "gpt2" | "llama", size: number) {
  const tokens = Array<string | undefined>(size).fill(undefined);
  const types = Array<number>(size).fill(tokenTypes.unused);
  const put = (content: string, id: unknown, type: number) => {
    if (typeof id !== "number" || !(id < size)) {
      throw new LayerfoldError("GGUF_TOKENIZER", "the vocabulary is longer than the embedding", {
        wanted: `ids below ${size}, the rows of the embedding`,
        got: `${id} for ${JSON.stringify(content)}`,
        where,
      });
    }
    tokens[id] = content;
    types[id] = type;
  };
  for (const [content, id] of Object.entries((model.vocab ?? {}) as Json)) {
    const isByte = kind === "llama" && /^<0x[0-9A-F]{2}>$/.test(content);
    const isUnknown = kind === "llama" && content === model.unk_token;
    put(content, id, isByte ? tokenTypes.byte : isUnknown ? tokenTypes.unknown : tokenTypes.normal);
  }
  for (const { id, content, special } of (json.added_tokens ?? []) as AddedToken[]) {
    if (types[id] === tokenTypes.unknown) continue;
    // llama.cpp takes user-defined tokens out of the text before it writes spaces as SentencePiece does.
    const written = special || kind === "gpt2" ? content : content.replaceAll("▁", " ");
    put(written, id, special ? tokenTypes.control : tokenTypes.userDefined);
  }
  return { tokens: tokens.map((token, id) => token ?? `[PAD${id}]`), types };
}

/** Pairs, in the order in which they are merged; older files write them with a space between. */
function mergesOf({ model }: TokenizerFile): [string, string][] {
  return ((model.merges ?? []) as (string | [string, string])[]).map((merge) => {
    if (typeof merge !== "string") return merge;
    const at = merge.indexOf(" ", 1);
    return [merge.slice(0, at), merge.slice(at + 1)];
  });
}

/** SentencePiece merges what makes the best-scored piece; so a piece's score is the place of its first merge, from 0 downwards. */
function scoresOf(
  tokens: readonly string[],
  types: readonly number[],
  merges: readonly [string, string][],
): number[] {
  const ranks = new Map<string, number>();
  merges.forEach((pair, rank) => {
    const piece = pair.join("");
    if (!ranks.has(piece)) ranks.set(piece, rank);
  });
  return tokens.map((token, id) => {
    if (types[id] === tokenTypes.unused) return unusedScore;
    if (types[id] === tokenTypes.control || types[id] === tokenTypes.userDefined) return addedScore;
    if (types[id] !== tokenTypes.normal) return 0;
    return -(ranks.get(token) ?? merges.length);
  });
}

/** llama.cpp cannot load what it takes for Phi-3 and lacks one of these. */
const tokensOfPhi3 = ["<unk>", "<s>", "</s>", "<|endoftext|>"];

/**
 * llama.cpp lets Phi-3's added tokens strip the white space behind them, and knows Phi-3 by the model's name: so a model whose tokens do so is
 * called that, and no other is.
 */
function nameFor(
  name: string,
  architecture: string,
  { json, tokenizer }: TokenizerFile,
  report: RunContext["report"],
): string {
  const added = (json.added_tokens ?? []) as AddedToken[];
  const isPhi3 =
    architecture === "phi3" &&
    added.some(({ rstrip }) => rstrip) &&
    tokensOfPhi3.every((token) => tokenizer.idOf(token) !== undefined);
  const other = added.filter(({ lstrip, rstrip }) => lstrip || (rstrip && !isPhi3));
  if (other.length > 0) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "GGUF_TOKEN_SPACES",
      message: `a GGUF file cannot say that tokens take white space beside them away: ${other
        .slice(0, 5)
        .map(({ content }) => content)
        .join(", ")}`,
    });
  }
  if (isPhi3) return /phi-?3/i.test(name) ? name : `Phi-3 ${name}`;
  return name.replaceAll(/(phi|modern)-?(3|bert)/gi, "$1 $2");
}

/** Begin, end, unknown and padding token, what is added by itself, and the chat template. */
async function specialEntries(
  checkpoint: { readonly directory: string; readonly config: ModelConfig },
  { model, tokenizer }: TokenizerFile,
  tokens: readonly string[],
  report: RunContext["report"],
): Promise<Map<string, GgufEntry>> {
  const entries = new Map<string, GgufEntry>();
  const putId = (name: string, id: number | undefined) => {
    if (id !== undefined && id < tokens.length)
      entries.set(`tokenizer.ggml.${name}_token_id`, { type: "uint32", value: id });
  };
  const ends = await endTokens(checkpoint, tokenizer);
  const end = tokenizer.endId ?? ends[0];
  putId("bos", tokenizer.beginId);
  putId("eos", end);
  const settings =
    (await ifThere(
      readJsonObject(join(checkpoint.directory, "tokenizer_config.json"), "TOKENIZER_INVALID"),
    )) ?? {};
  const unknown = [model.unk_token, settings.unk_token].find((token) => typeof token === "string");
  putId("unknown", unknown === undefined ? undefined : tokenizer.idOf(unknown as string));
  putId("padding", tokenizer.padId);
  const further = ends.filter((id) => id !== end && !knownEnds.has(tokens[id]));
  putId("eot", further[0]);
  putId("eom", further[1]);
  if (further.length > 2) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "GGUF_END_TOKENS",
      message: `a GGUF file names three tokens that end a text; not ${further
        .slice(2)
        .map((id) => tokens[id])
        .join(", ")}`,
    });
  }
  const around = tokenizer.encode("a", { addSpecialTokens: true });
  const plain = tokenizer.encode("a");
  const added = around.length - plain.length;
  const addsEnd = end !== undefined && added > 0 && around.at(-1) === end && plain.at(-1) !== end;
  entries.set("tokenizer.ggml.add_bos_token", { type: "bool", value: tokenizer.addsBeginToken });
  entries.set("tokenizer.ggml.add_eos_token", { type: "bool", value: addsEnd });
  const template = tokenizer.chatTemplate;
  if (template !== undefined) entries.set("tokenizer.chat_template", { type: "string", value: template });
  return entries;
}

/** @throws GGUF_TOKENIZER where what is read back gives other ids for some text */
function checkReadBack(
  entries: ReadonlyMap<string, GgufEntry>,
  architecture: string,
  vocabularySize: number,
  { tokenizer, where }: TokenizerFile,
): void {
  const metadata = Object.fromEntries([...entries].map(([key, { value }]) => [key, value]));
  metadata["general.architecture"] = architecture;
  const read = tokenizerOfGguf(metadata, vocabularySize, where);
  const hub = hubTokenizer(read["tokenizer.json"], read["tokenizer_config.json"]);
  for (const text of probes(tokenizer, vocabularySize)) {
    const wanted = tokenizer.encode(text, { addSpecialTokens: true });
    const got: number[] = hub.encode(text, { add_special_tokens: true }).ids;
    if (wanted.join() === got.join()) continue;
    const at = wanted.findIndex((id, i) => id !== got[i]);
    throw new LayerfoldError(
      "GGUF_TOKENIZER",
      "a GGUF file cannot say this tokenizer: it would give other ids",
      {
        wanted: `${wanted.slice(at, at + 8)} from token ${at} of ${JSON.stringify(text.slice(0, 40))}`,
        got: `${got.slice(at, at + 8)}`,
        where,
      },
    );
  }
}

/** Text of many kinds, and what some thousand tokens of the vocabulary spell. */
function probes(tokenizer: Tokenizer, vocabularySize: number): string[] {
  const step = Math.max(1, Math.floor(vocabularySize / 2000));
  const spelled: string[] = [];
  for (let id = 0; id < vocabularySize; id += step)
    spelled.push(tokenizer.decode([id], { skipSpecialTokens: true }));
  const lines: string[] = [];
  for (let at = 0; at < spelled.length; at += 50) lines.push(spelled.slice(at, at + 50).join(""));
  return [preTokenizerProbe.normalize("NFC"), ...lines.map((line) => line.normalize("NFC"))];
}
