import { expect, it } from "vitest";
import { tokenizerOfGguf } from "./tokenizer-of-gguf.js";

const code = (wanted: string) => expect.objectContaining({ code: wanted });

/** A SentencePiece vocabulary; types as in ggml: 1 normal, 2 unknown, 3 control, 4 user-defined. */
function made(change: Record<string, unknown> = {}, architecture = "llama", rows = 10) {
  const tokenizer: Record<string, unknown> = {
    model: "llama",
    tokens: ["<unk>", "<s>", "</s>", "<|user|>", "  ", "▁", "a", "▁a"],
    token_type: [2, 3, 3, 4, 4, 1, 1, 1],
    scores: [0, 0, 0, -1000, -1000, -2, -3, -1],
    bos_token_id: 1,
    eos_token_id: 2,
    ...change,
  };
  const entries = Object.entries(tokenizer).map(([key, value]) => [`tokenizer.ggml.${key}`, value]);
  return tokenizerOfGguf(
    { "general.architecture": architecture, ...Object.fromEntries(entries) },
    rows,
    "x.gguf",
  )["tokenizer.json"] as {
    added_tokens: { content: string; rstrip: boolean; special: boolean }[];
    model: { vocab: Record<string, number>; merges: string[][] };
    post_processor: { single: object[]; pair: object[] } | null;
  };
}

it("gives pieces of spaces their own spelling back, and merges them first", () => {
  const { model } = made();
  expect(model.vocab["▁▁"]).toBe(4);
  expect(model.merges).toEqual([
    ["▁", "▁"],
    ["▁", "a"],
  ]);
});

it("strips what follows Phi-3's added tokens, as llama.cpp does by the model's name", () => {
  const stripping = (architecture: string) =>
    made({}, architecture)
      .added_tokens.filter(({ rstrip }) => rstrip)
      .map(({ content }) => content);
  expect(stripping("phi3")).toEqual(["</s>", "<|user|>", "▁▁"]);
  expect(stripping("llama")).toEqual([]);
});

it("adds the begin and the end token where the file says so", () => {
  const begin = { SpecialToken: { id: "<s>", type_id: 0 } };
  const end = { SpecialToken: { id: "</s>", type_id: 0 } };
  const text = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  expect(made().post_processor?.single).toEqual([begin, text("A", 0)]);
  expect(made({ add_bos_token: false }).post_processor).toBeNull();
  expect(made({ add_eos_token: true }).post_processor?.pair).toEqual([
    begin,
    text("A", 0),
    end,
    begin,
    text("B", 1),
    end,
  ]);
  const bytes = { model: "gpt2", merges: ["▁ a"], scores: undefined };
  // llama.cpp adds it for Llama 3 where the file is silent, for GPT-2 not.
  expect(made({ ...bytes, pre: "llama-bpe" }).post_processor?.single).toEqual([begin, text("A", 0)]);
  expect(made({ ...bytes, pre: "gpt-2" }).post_processor).toBeNull();
});

it.each<[string, Record<string, unknown>]>([
  ["no tokens", { tokens: undefined }],
  ["tokens that are no texts", { tokens: [1, 2, 3, 4, 5, 6, 7, 8] }],
  ["a text for the tokens", { tokens: "abcdefgh" }],
  ["fewer types than tokens", { token_type: [1] }],
  ["fewer scores than tokens", { scores: [0] }],
  ["a piece without end", { tokens: ["<unk>", "<s>", "</s>", "b", "  ", "▁", "a", "x".repeat(1000)] }],
  ["a merge of one token", { model: "gpt2", pre: "gpt-2", merges: ["ab"] }],
  ["merges that are no texts", { model: "gpt2", pre: "gpt-2", merges: [[1, 2]] }],
])("refuses %s", (_, change) => {
  expect(() => made(change)).toThrow(code("GGUF_TOKENIZER"));
});

it("refuses more tokens than the embedding has rows", () => {
  expect(() => made({}, "llama", 7)).toThrow(code("GGUF_TOKENIZER"));
});
