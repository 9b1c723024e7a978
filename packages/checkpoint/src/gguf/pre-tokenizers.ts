type Json = Record<string, unknown>;

/** How text is cut before pairs are merged, as the pieces of a tokenizer.json. */
export interface PreTokenizer {
  readonly cut: Json;
  readonly normalizer?: Json;
  /** A word that is a token is taken as it is, whatever the merges make of it. */
  readonly ignoreMerges?: boolean;
  /** The begin token is added where the file does not say whether. */
  readonly addsBegin?: boolean;
}

export const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

const isolated = (pattern: string) => ({
  type: "Split",
  pattern: { Regex: pattern },
  behavior: "Isolated",
  invert: false,
});
const sequence = (...pretokenizers: Json[]) => ({ type: "Sequence", pretokenizers });
const splits = (...patterns: string[]) =>
  sequence(...patterns.map(isolated), { ...byteLevel, use_regex: false });

const digitsAlone = sequence({ type: "Digits", individual_digits: true }, byteLevel);
const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const rest = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const words = (numbers: string) =>
  splits(`${contraction}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${rest}`);
/** Words end before a capital letter; `suffix` may follow them. */
const casedWords = (suffix: string, numbers: string) => {
  const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
  const lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  const word = (first: string, last: string) =>
    `[^\\r\\n\\p{L}\\p{N}]?${upper}${first}${lower}${last}${suffix}`;
  return splits(`${word("*", "+")}|${word("+", "*")}|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${rest}`);
};

const gpt2 = { cut: byteLevel };
const gptNeox = { cut: byteLevel, normalizer: { type: "NFC" } };
const starcoder = { cut: digitsAlone };
const llama3 = { cut: words("\\p{N}{1,3}"), ignoreMerges: true, addsBegin: true };
const qwen2 = { cut: words("\\p{N}"), normalizer: { type: "NFC" } };
const gpt4o = { cut: casedWords(`${contraction}?`, "\\p{N}{1,3}") };

/** What llama.cpp's `tokenizer.ggml.pre` stands for. */
export const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  default: gpt2,
  "gpt-2": gpt2,
  "phi-2": gpt2,
  mpt: gptNeox,
  olmo: gptNeox,
  smollm: starcoder,
  starcoder,
  refact: starcoder,
  "command-r": starcoder,
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  falcon3: llama3,
  pixtral: llama3,
  dbrx: { cut: words("\\p{N}{1,3}") },
  "smaug-bpe": { cut: words("\\p{N}{1,3}"), ignoreMerges: true },
  qwen2,
  "deepseek-r1-qwen": qwen2,
  stablelm2: { cut: words("\\p{N}") },
  tekken: { cut: casedWords("", "\\p{N}"), ignoreMerges: true, addsBegin: true },
  "gpt-4o": gpt4o,
  "deepseek-coder": {
    cut: splits("[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"),
  },
  // Digits are sought in what the bytes are written as.
  falcon: {
    cut: sequence(
      isolated("[!-/:-@\\[-`{-~\\p{P}]+"),
      byteLevel,
      isolated("\\p{N}+"),
      isolated("[0-9][0-9][0-9]"),
    ),
  },
};
