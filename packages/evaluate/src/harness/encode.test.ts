import type { Tokenizer } from "@layerfold/checkpoint";
import { describe, expect, it } from "vitest";
import { characterTokenizer } from "../character-tokenizer.test.fixture.js";
import { encoder } from "./encode.js";

// One token a character with the space before it; a begin token 0 that the tokenizer adds by itself.
const tokenizer = characterTokenizer();
const ids = (text: string) => tokenizer.encode(text);

describe("pairs", () => {
  it("are cut where the context's own tokens end, and spaces behind it are the continuation's", () => {
    const { pair } = encoder(tokenizer, 99);
    expect(pair("ab", " cd", "")).toEqual({ ids: [0, ...ids("ab cd")], from: 3, cut: 0 });
    expect(pair("ab \n", " c", "")).toEqual({ ids: [0, ...ids("ab \n c")], from: 3, cut: 0 });
    // A begin token stands before what has nothing before it.
    expect(pair("", "cd", "")).toEqual({ ids: [0, ...ids("cd")], from: 1, cut: 0 });
  });

  it("keep the last tokens, one more than the model sees", () => {
    const { pair } = encoder(tokenizer, 3);
    expect(pair("aaaa", "bb", "")).toEqual({ ids: ids("aabb"), from: 2, cut: 3 });
    expect(pair("a", "bb", "")).toEqual({ ids: [0, ...ids("abb")], from: 2, cut: 0 });
    expect(pair("aaa", "bbb", "")).toMatchObject({ from: 1 });
  });

  it("are refused where nothing can be scored", () => {
    const { pair } = encoder(tokenizer, 2);
    const refused = (code: string) => expect.objectContaining({ code, where: "piqa, document 7" });
    expect(() => pair("a", "bbb", "piqa, document 7")).toThrow(refused("QUESTION_TOO_LONG"));
    expect(() => pair("a", "", "piqa, document 7")).toThrow(refused("CONTINUATION_EMPTY"));
    const bare = { ...tokenizer, beginId: undefined, encode: (text: string) => ids(text) };
    expect(() => encoder(bare, 9).pair(" ", "a", "piqa, document 7")).toThrow(refused("CONTEXT_EMPTY"));
    expect(() => encoder(bare, 9).pair("", "a", "piqa, document 7")).toThrow(refused("BEGIN_TOKEN_MISSING"));
  });

  it("give no begin token to what begins with it", () => {
    // The begin token spelled "^".
    const spelled: Tokenizer = {
      ...tokenizer,
      decode: (given) => (given[0] === 0 ? "^" : "?"),
      encode: (text, options) => [
        ...(options?.addSpecialTokens ? [0] : []),
        ...(text.startsWith("^") ? [0] : []),
        ...ids(text.replace(/^\^/, "")),
      ],
    };
    const { pair } = encoder(spelled, 99);
    expect(pair("^ab", " c", "")).toEqual(pair("ab", " c", ""));
  });
});

it("rolling windows score each token once, with as much before it as there is room for", () => {
  const text = "abcdefg";
  // lm_eval.utils.get_rolling_token_windows and make_disjoint_window, max_seq_len 3, context_len 1; the tokenizer's own begin token is a token too.
  const all = [0, ...ids(text)];
  expect(encoder(tokenizer, 3).rolling(text)).toEqual([
    { ids: [0, ...all.slice(0, 3)], from: 1, cut: 0 },
    { ids: all.slice(2, 6), from: 1, cut: 0 },
    { ids: all.slice(4, 8), from: 2, cut: 0 },
  ]);
  expect(encoder(tokenizer, 99).rolling("ab")).toEqual([{ ids: [0, 0, ...ids("ab")], from: 1, cut: 0 }]);
});

it("prompts leave room for their answers", () => {
  const { prompt } = encoder(tokenizer, 6);
  expect(prompt("abcdef", 2, "")).toEqual({ ids: ids("cdef"), cut: 3 });
  expect(() => prompt("a", 6, "gsm8k, document 0")).toThrow(
    expect.objectContaining({ code: "QUESTION_TOO_LONG", where: "gsm8k, document 0" }),
  );
});
