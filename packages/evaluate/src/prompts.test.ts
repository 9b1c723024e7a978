import type { Tokenizer } from "@layerfold/checkpoint";
import type { Diagnostic, ReportEvent } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { describe, expect, it } from "vitest";
import { bigramModel, ctx, watched } from "./bigram-model.test.fixture.js";
import { characterTokenizer } from "./character-tokenizer.test.fixture.js";
import { choiceLikelihood } from "./choice-likelihood.js";
import { lastWord } from "./last-word.js";
import { encodePairs } from "./prompts.js";

function listener() {
  const diagnostics: Diagnostic[] = [];
  return {
    diagnostics,
    report: (event: ReportEvent) => {
      if (event.type === "diagnostic") diagnostics.push(event);
    },
  };
}

/** A bigram model: what stands before the last token is nothing to it, so cutting on the left may change no score. */
const rng = seededRng(5);
const table = Array.from({ length: 100 }, () => Array.from({ length: 100 }, () => 3 * rng.normal()));

describe("encodePairs", () => {
  const tokenizer = characterTokenizer();
  const row = (context: string, continuation: string) => [{ context, continuation }];

  it("keeps the last tokens, one more than the model sees, and counts rows", () => {
    const [id] = tokenizer.encode("a");
    const { diagnostics, report } = listener();
    // With its begin token the first has 7 tokens, 2 of them the answer; the second 4, the third 3 and 4.
    const rows = [row("aaaa", "aa"), row("a", "aa"), [...row("", "aa"), ...row("a", "aa")]];
    const pairs = encodePairs(tokenizer, rows, { contextLength: 3, name: "piqa" }, report);
    expect(pairs.map(({ ids, from }) => [ids.length, from])).toEqual([
      [4, 2],
      [4, 2],
      [3, 1],
      [4, 2],
    ]);
    // The begin token goes first, as in lm-evaluation-harness.
    expect(pairs[0].ids[0]).toBe(id);
    expect(pairs[1].ids[0]).toBe(0);
    expect(diagnostics).toEqual([
      expect.objectContaining({
        code: "QUESTIONS_CUT",
        message: expect.stringContaining("piqa: 1 of 3 "),
      }),
    ]);
  });

  it("refuses an answer that the model cannot see", () => {
    expect(encodePairs(tokenizer, [row("aaa", "bbb")], { contextLength: 3 }, undefined)).toMatchObject([
      { from: 1 },
    ]);
    expect(() =>
      encodePairs(tokenizer, [row("a", "b"), row("aaa", "bbb")], { contextLength: 2 }, undefined),
    ).toThrow(expect.objectContaining({ code: "QUESTION_TOO_LONG", where: "questions, row 1", got: "3" }));
  });

  it("gives no begin token to what begins with it, and counts", () => {
    // The begin token spelled "^".
    const spelled: Tokenizer = {
      ...tokenizer,
      encode: (text, options) => [
        ...(options?.addSpecialTokens ? [0] : []),
        ...(text.startsWith("^") ? [0] : []),
        ...tokenizer.encode(text.replace(/^\^/, "")),
      ],
    };
    const { diagnostics, report } = listener();
    const rows = [row("^Mara went", "home"), row("Mara went", "home")];
    const [begun, plain] = encodePairs(spelled, rows, {}, report);
    expect(begun).toEqual(plain);
    expect(diagnostics).toEqual([
      expect.objectContaining({ code: "BEGIN_TOKEN_PRESENT", message: expect.stringContaining("1 of 2") }),
    ]);
  });
});

describe("questions longer than the context", () => {
  const tokenizer = characterTokenizer();
  const most = (rows: readonly number[][]) => Math.max(...rows.map((row) => row.length));

  it("score as the whole does where only the last token counts, and never fill more than the context", async () => {
    const word = (most: number) =>
      Array.from({ length: 1 + rng.integer(most) }, () => String.fromCharCode(97 + rng.integer(26))).join("");
    const items = Array.from({ length: 40 }, () => ({
      context: word(16),
      choices: [word(4), word(4), word(1), word(1)],
      answer: rng.integer(4),
    }));
    // The longest of all.
    items.push({ context: "abcdefghijklmnop", choices: ["abcd", "x", "yz"], answer: 0 });
    const whole = await choiceLikelihood(bigramModel(table), tokenizer, items, {}, ctx);
    // From the longest answer, which then stands alone, to the longest pair: begin token, 16 and 4.
    for (const contextLength of [4, 5, 6, 8, 15, 20, 21]) {
      const { model, seen } = watched(bigramModel(table));
      const { diagnostics, report } = listener();
      const found = await choiceLikelihood(model, tokenizer, items, { contextLength }, { ...ctx, report });
      expect(found).toEqual(whole);
      expect(most(seen)).toBe(contextLength);
      expect(diagnostics.map(({ code }) => code)).toEqual(contextLength < 20 ? ["QUESTIONS_CUT"] : []);
    }
  });

  it("so do last words", async () => {
    const texts = ["once there was a mill", "a mill", "was abc"];
    const whole = await lastWord(bigramModel(table), tokenizer, texts, {}, ctx);
    for (const contextLength of [4, 6, 12]) {
      const { model, seen } = watched(bigramModel(table));
      const found = await lastWord(model, tokenizer, texts, { contextLength }, ctx);
      expect(found.acc).toEqual(whole.acc);
      expect(Math.log(found.perplexity)).toBeCloseTo(Math.log(whole.perplexity), 9);
      expect(most(seen)).toBe(contextLength);
    }
  });
});
