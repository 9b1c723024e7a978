import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openTokenizer } from "./tokenizer.js";

const foldling = fileURLToPath(new URL("../../../models/foldling/checkpoint/", import.meta.url));
const code = (wanted: string) => expect.objectContaining({ code: wanted });

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "layerfold-tokenizer-"));
  await cp(join(foldling, "tokenizer.json"), join(directory, "tokenizer.json"));
});
afterEach(() => rm(directory, { recursive: true }));

/** Foldling's tokenizer with some parts of the file exchanged. */
async function exchange(parts: object): Promise<void> {
  const file = join(directory, "tokenizer.json");
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), ...parts }));
}

describe("a tokenizer.json that is wrong", () => {
  const template = { type: "TemplateProcessing", pair: [], special_tokens: {} };
  it.each<[string, object]>([
    ["a processor of no kind", { post_processor: { type: "Unheard" } }],
    ["a processor that is a number", { post_processor: 7 }],
    ["a template with null in it", { post_processor: { ...template, single: [null] } }],
    ["a template that is none", { post_processor: { ...template, single: 7 } }],
    [
      "a template whose token the vocabulary lacks",
      { post_processor: { ...template, single: [{ SpecialToken: { id: "<nowhere>", type_id: 0 } }] } },
    ],
    ["a processor without its tokens", { post_processor: { type: "BertProcessing", sep: null, cls: null } }],
    ["added tokens that are no list", { added_tokens: 7 }],
    ["a decoder of no kind", { decoder: { type: 7 } }],
    [
      "a pattern that is none",
      { pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } },
    ],
    ["a model that is null", { model: null }],
  ])("is refused by code: %s", async (_, parts) => {
    await exchange(parts);
    const use = async () => {
      const tokenizer = await openTokenizer(directory);
      tokenizer.decode(tokenizer.encode("Mara went", { addSpecialTokens: true }));
    };
    await expect(use()).rejects.toThrow(code("TOKENIZER_INVALID"));
    await expect(use()).rejects.toThrow(/^[^\n]*tokenizer\.json\)$/);
  });

  it.each([
    ["tokenizer.json", "null"],
    ["tokenizer.json", "[]"],
    ["tokenizer_config.json", "7"],
    ["special_tokens_map.json", "null"],
    ["chat_template.json", '"x"'],
  ])("is refused where %s is %s", async (name, text) => {
    await writeFile(join(directory, name), text);
    await expect(openTokenizer(directory)).rejects.toThrow(code("TOKENIZER_INVALID"));
  });

  it("is broken off where a pattern backtracks without end", async () => {
    const pattern = { Regex: "(a+)+$" };
    await exchange({ pre_tokenizer: { type: "Split", pattern, behavior: "Isolated", invert: false } });
    const tokenizer = await openTokenizer(directory, { timeLimit: 0.2 });
    expect(() => tokenizer.encode(`${"a".repeat(60)}b`)).toThrow(code("TOKENIZER_SLOW"));
  });
});
