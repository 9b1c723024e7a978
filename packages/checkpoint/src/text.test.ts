import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ReportEvent } from "@layerfold/core";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { batchBySize } from "./batch-by-size.js";
import { type Documents, readDocuments } from "./documents.js";
import { readQuestions } from "./questions.js";
import { tokenWindows, type WindowOptions } from "./token-windows.js";
import { openTokenizer, promptIds, type Tokenizer } from "./tokenizer.js";

const foldling = fileURLToPath(new URL("../../../models/foldling/", import.meta.url));
const code = (wanted: string) => expect.objectContaining({ code: wanted });
let folder: string;
let tokenizer: Tokenizer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-text-"));
  tokenizer = await openTokenizer(join(foldling, "checkpoint"));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, content: string) {
  await writeFile(join(folder, name), content);
  return join(folder, name);
}

describe("openTokenizer", () => {
  it("gives the ids that transformers gives, and the text back", async () => {
    const { prompts } = JSON.parse(await readFile(join(foldling, "golden/golden.json"), "utf8"));
    for (const { prompt, input_ids, tokens } of prompts) {
      expect(tokenizer.encode(prompt, { addSpecialTokens: true })).toEqual(input_ids);
      expect(tokenizer.encode(prompt)).toEqual(input_ids.slice(1));
      expect(tokenizer.decode(input_ids, { skipSpecialTokens: true })).toBe(prompt);
      expect(tokens.map((token: string) => tokenizer.idOf(token))).toEqual(input_ids);
    }
  });

  it("knows the special tokens", () => {
    expect(tokenizer).toMatchObject({
      beginId: 0,
      endId: 1,
      padId: 2,
      addsBeginToken: true,
      chatTemplate: undefined,
    });
    expect(tokenizer.idOf("no such token")).toBeUndefined();
  });

  it("adds a prompt's begin token where it has none", () => {
    const once = { ids: tokenizer.encode("Mara", { addSpecialTokens: true }), ownBegin: false };
    expect(once.ids[0]).toBe(0);
    expect(promptIds(tokenizer, "Mara")).toEqual(once);
    expect(promptIds(tokenizer, "<|begin|>Mara")).toEqual({ ...once, ownBegin: true });
    // A tokenizer that adds none has nothing to leave out.
    const bare = { ...tokenizer, encode: (text: string) => tokenizer.encode(text), addsBeginToken: false };
    expect(promptIds(bare, "<|begin|><|begin|>Mara")).toEqual({ ids: [0, ...once.ids], ownBegin: false });
  });

  it("finds the chat template wherever it stands", async () => {
    const model = await readFile(join(foldling, "checkpoint/tokenizer.json"), "utf8");
    await file("tokenizer.json", model);
    const named = [
      { name: "tool_use", template: "T" },
      { name: "default", template: "D" },
    ];
    await file(
      "tokenizer_config.json",
      JSON.stringify({ chat_template: named, bos_token: { content: "<|begin|>" } }),
    );
    expect(await openTokenizer(folder)).toMatchObject({ chatTemplate: "D", beginId: 0, endId: undefined });
    await file("chat_template.jinja", "J");
    expect((await openTokenizer(folder)).chatTemplate).toBe("J");
  });

  it("cuts at every number, as the reference does, not at ASCII digits alone", async () => {
    const model = JSON.parse(await readFile(join(foldling, "checkpoint/tokenizer.json"), "utf8"));
    const digits = { type: "Digits", individual_digits: true };
    model.pre_tokenizer = { type: "Sequence", pretokenizers: [digits, model.pre_tokenizer] };
    await file("tokenizer.json", JSON.stringify(model));
    // tokenizers 0.23.3 on the same file.
    const wanted = [268, 70, 223, 19, 20, 223, 129, 124, 223, 90, 129, 113, 670];
    expect((await openTokenizer(folder)).encode("had 12 ½ x² pears")).toEqual(wanted);
  });

  it("says what is missing or broken", async () => {
    await expect(openTokenizer(join(folder, "nowhere"))).rejects.toThrow(code("TOKENIZER_MISSING"));
    await file("tokenizer.json", "{");
    await expect(openTokenizer(folder)).rejects.toThrow(code("TOKENIZER_INVALID"));
    await file("tokenizer.json", "{}");
    await expect(openTokenizer(folder)).rejects.toThrow(code("TOKENIZER_INVALID"));
  });
});

describe("readDocuments", () => {
  it("reads a stream, lines and lists", async () => {
    expect(await readDocuments(await file("a.txt", "one\ntwo"))).toMatchObject({
      kind: "stream",
      text: "one\ntwo",
    });
    const lines = await readDocuments(await file("a.jsonl", '{"text":"one"}\n\n"two"\r\n'));
    expect(lines).toMatchObject({ kind: "documents", texts: ["one", "two"] });
    expect(await readDocuments(await file("a.json", '["one",{"text":"two"}]'))).toMatchObject({
      texts: ["one", "two"],
    });
  });

  it.each([
    ["a.txt", " \n", "TEXT_EMPTY"],
    ["a.jsonl", "\n", "TEXT_EMPTY"],
    ["a.json", "[]", "TEXT_EMPTY"],
    ["a.json", '{"text":"one"}', "DOCUMENT_INVALID"],
    ["a.jsonl", '{"text":"one"}\n{text}', "DOCUMENT_INVALID"],
    ["a.jsonl", '{"text":"one"}\n{"content":"two"}', "DOCUMENT_INVALID"],
  ])("refuses %s with %j", async (name, content, wanted) => {
    await expect(readDocuments(await file(name, content))).rejects.toThrow(code(wanted));
    if (content.includes("one") && name === "a.jsonl")
      await expect(readDocuments(join(folder, name))).rejects.toThrow(/line 2/);
  });

  it("names a file that is not there", async () => {
    await expect(readDocuments(join(folder, "nowhere.txt"))).rejects.toThrow(code("FILE_MISSING"));
  });
});

describe("tokenWindows", () => {
  // One token a character, so that every position of the text can be told.
  const letters: Tokenizer = {
    encode: (text) => [...text].map((c) => c.charCodeAt(0)),
    decode: (ids) => String.fromCharCode(...Array.from(ids)),
    idOf: () => undefined,
    beginId: 1,
    endId: 2,
    addsBeginToken: true,
  };
  const stream = (length: number): Documents => ({
    kind: "stream",
    text: String.fromCharCode(...Array.from({ length }, (_, i) => 100 + i)),
    file: "x.txt",
  });
  const documents = (...texts: string[]): Documents => ({ kind: "documents", texts, file: "x.jsonl" });
  const cut = (given: Documents, options: WindowOptions) => {
    const events: ReportEvent[] = [];
    const result = tokenWindows(given, letters, options, (event) => events.push(event));
    return { ...result, events };
  };

  it("scores every token of the windows once, but each window's first without overlap", () => {
    const sizes = fc.record({
      length: fc.integer({ min: 4, max: 300 }),
      window: fc.integer({ min: 3, max: 40 }),
      stride: fc.integer({ min: 1, max: 40 }),
      begin: fc.boolean(),
    });
    fc.assert(
      fc.property(sizes, ({ length, window, stride, begin }) => {
        fc.pre(stride <= window && length >= window);
        const { sequences, targetCount } = cut(stream(length), {
          window,
          stride,
          beginToken: begin ? "always" : "auto",
        });
        const targets = sequences.flatMap(({ ids, scoredFrom }) => [...ids.subarray(scoredFrom)]);
        expect(targets).toHaveLength(targetCount);
        // No token twice, in order; all of them where windows overlap or a begin token stands before each.
        expect(targets.every((id, i) => i === 0 || id > targets[i - 1])).toBe(true);
        for (const { ids } of sequences) expect(ids).toHaveLength(window);
        if (stride < window || begin)
          expect(targets).toEqual(targets.map((_, i) => 100 + i + (begin ? 0 : 1)));
        const fresh = begin ? window - 1 : window;
        const step = Math.min(stride, fresh);
        expect(sequences).toHaveLength(Math.floor((length - fresh) / step) + 1);
      }),
    );
  });

  it("cuts a stream once, reports the tail, and stops at the limit", () => {
    const all = cut(stream(25), { window: 8 });
    expect(all).toMatchObject({
      beginTokenGiven: false,
      endTokenScored: false,
      tokenCount: 24,
      targetCount: 21,
    });
    expect(all.events).toEqual([
      expect.objectContaining({
        code: "TEXT_TAIL_UNUSED",
        message: expect.stringContaining("last 1 tokens"),
      }),
    ]);
    const first = cut(stream(80), { window: 8, maxTokens: 20 });
    expect(first.sequences.map(({ ids }) => ids[0])).toEqual([100, 108]);
    const spread = cut(stream(80), { window: 8, maxTokens: 20, spread: true });
    expect(spread.sequences.map(({ ids }) => ids[0])).toEqual([100, 140]);
  });

  it("gives a document its begin token and its end token as a target", () => {
    const { sequences, ...rest } = cut(documents("ab", "", "c"), { window: 8 });
    expect(sequences.map(({ ids }) => [...ids])).toEqual([
      [1, 97, 98, 2],
      [1, 2],
      [1, 99, 2],
    ]);
    expect(rest).toMatchObject({
      beginTokenGiven: true,
      endTokenScored: true,
      tokenCount: 9,
      targetCount: 6,
      events: [],
    });
    const bare = cut(documents("ab", ""), { window: 8, beginToken: "never" });
    expect(bare.sequences.map(({ ids }) => [...ids])).toEqual([[97, 98, 2]]);
    expect(bare.beginTokenGiven).toBe(false);
  });

  it("gives no begin or end token that a document has already, and counts", () => {
    const { sequences, events } = cut(documents("\x01ab\x02", "ab", "\x01", "\x01\x01a"), { window: 8 });
    expect(sequences.map(({ ids }) => [...ids])).toEqual([
      [1, 97, 98, 2],
      [1, 97, 98, 2],
      [1, 2],
      // What stands there twice was meant so.
      [1, 1, 97, 2],
    ]);
    expect(events).toEqual([
      expect.objectContaining({
        code: "BEGIN_TOKEN_PRESENT",
        message: expect.stringContaining("3 of 4 documents"),
      }),
    ]);
    const bare = cut(documents("\x01ab"), { window: 8, beginToken: "never" });
    expect(bare.sequences.map(({ ids }) => [...ids])).toEqual([[1, 97, 98, 2]]);
    expect(bare.events).toEqual([]);
  });

  it("gives a window none that begins with one", () => {
    const text: Documents = { kind: "stream", text: "\x01abcde\x01fghi", file: "x.txt" };
    const { sequences, events } = cut(text, { window: 4, stride: 2, beginToken: "always" });
    expect(
      sequences.map(({ ids, scoredFrom }) => [[...ids].slice(0, scoredFrom), [...ids].slice(scoredFrom)]),
    ).toEqual([
      [[1], [97, 98]],
      [
        [1, 98],
        [99, 100],
      ],
      [
        [1, 100],
        [101, 1],
      ],
      [[1], [102, 103]],
      [
        [1, 103],
        [104, 105],
      ],
    ]);
    expect(events).toEqual([expect.objectContaining({ message: expect.stringContaining("2 of 5 windows") })]);
    expect(cut(text, { window: 4 }).events).toEqual([expect.objectContaining({ code: "TEXT_TAIL_UNUSED" })]);
  });

  it("cuts long documents off and says so", () => {
    const { sequences, events } = cut(documents("abcdef", "g"), { window: 4 });
    expect(sequences.map(({ ids }) => [...ids])).toEqual([
      [1, 97, 98, 99],
      [1, 103, 2],
    ]);
    expect(events).toEqual([expect.objectContaining({ code: "DOCUMENTS_TRUNCATED", severity: "warning" })]);
    const ends = cut(documents("abcdef", "g"), { window: 4, keepEnd: true });
    expect(ends.sequences.map(({ ids }) => [...ids])).toEqual([
      [100, 101, 102, 2],
      [1, 103, 2],
    ]);
  });

  it("takes whole documents up to the limit, or evenly", () => {
    const ten = documents(..."abcdefghij");
    const firsts = (options: WindowOptions) =>
      cut(ten, { window: 4, ...options }).sequences.map(({ ids }) => ids[1] - 97);
    expect(firsts({ maxTokens: 10 })).toEqual([0, 1, 2]);
    expect(firsts({ maxTokens: 10, spread: true })).toEqual([0, 3, 6]);
    expect(firsts({ maxTokens: 300, spread: true })).toHaveLength(10);
  });

  it("takes a part: tokens of a stream, whose windows are the whole's, or rows of documents", () => {
    const firsts = (options: WindowOptions, given: Documents = stream(80)) =>
      cut(given, { window: 8, ...options }).sequences.map(({ ids }) => ids[0]);
    expect(firsts({ range: { from: 16, to: 40 } })).toEqual([116, 124, 132]);
    expect(firsts({ range: { from: 64 } })).toEqual([164, 172]);
    expect(firsts({ range: { from: 16, to: 80 }, maxTokens: 16 })).toEqual([116, 124]);
    expect(firsts({ range: { from: 16, to: 80 }, maxTokens: 16, spread: true })).toEqual([116, 148]);
    expect(firsts({ range: { from: 16 }, stride: 4, maxTokens: 16 })).toEqual([116, 120]);
    const rows = cut(documents(..."abcd"), { window: 8, range: { from: 1, to: 3 } }).sequences;
    expect(rows.map(({ ids }) => ids[1])).toEqual([98, 99]);
    for (const range of [{ from: 0, to: 81 }, { from: 80 }, { from: 9, to: 9 }]) {
      expect(() => cut(stream(80), { window: 8, range })).toThrow(code("TEXT_RANGE"));
    }
    expect(() => cut(documents("a"), { range: { from: 0, to: 2 } })).toThrow(code("TEXT_RANGE"));
  });

  it("refuses what it cannot cut", () => {
    expect(() => cut(stream(5), { window: 8 })).toThrow(code("TEXT_TOO_SHORT"));
    expect(() => cut(documents(""), { beginToken: "never" })).toThrow(code("TEXT_EMPTY"));
    for (const options of [
      { window: 1 },
      { window: 8, stride: 9 },
      { stride: 0 },
      { window: 8, maxTokens: 7 },
      { window: Number.NaN },
    ]) {
      expect(() => cut(stream(50), options)).toThrow(code("WINDOW_INVALID"));
    }
    const without = { ...letters, beginId: undefined };
    expect(() => tokenWindows(stream(50), without, { window: 8, beginToken: "always" })).toThrow(
      code("TOKENIZER_NO_BEGIN"),
    );
    expect(tokenWindows(documents("ab"), without, { window: 8 }).beginTokenGiven).toBe(false);
  });

  it("cuts the same windows whether it reads a long text to its end or not", async () => {
    const lines = await readDocuments(join(foldling, "data/calibration.jsonl"));
    const text = lines.kind === "documents" ? lines.texts.join("\n\n") : "";
    const given: Documents = { kind: "stream", text, file: "x.txt" };
    const all = tokenWindows(given, tokenizer, { window: 50, stride: 30 }).sequences;
    expect(all.length).toBeGreaterThan(400);
    for (const count of [1, 2, 7, 40, 200]) {
      const some = tokenWindows(given, tokenizer, {
        window: 50,
        stride: 30,
        maxTokens: 50 * count,
      }).sequences;
      expect(some).toEqual(all.slice(0, count));
    }
  });

  it("counts foldling's validation text as its makers did", async () => {
    const given = await readDocuments(join(foldling, "data/validation.jsonl"));
    // 256 documents, 18,452 tokens with begin and end: transformers' tokenizer on the same file.
    expect(tokenWindows(given, tokenizer)).toMatchObject({ tokenCount: 18_452, targetCount: 18_196 });
  });
});

describe("batchBySize", () => {
  it("holds every row once, within the size, longest first", () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 200 }), (sizes, limit) => {
        const rows = sizes.map((length, index) => Array.from({ length }, (_, i) => 1000 * index + i));
        const batches = batchBySize(rows, limit);
        expect(batches.flatMap(({ indices }) => indices).sort((a, b) => a - b)).toEqual(
          sizes.map((_, i) => i),
        );
        for (const { batch, indices } of batches) {
          expect(batch.batchSize === 1 || batch.batchSize * batch.sequenceLength <= limit).toBe(true);
          indices.forEach((index, row) => {
            const start = row * batch.sequenceLength;
            expect(batch.lengths[row]).toBe(sizes[index]);
            expect([...batch.inputIds.subarray(start, start + sizes[index])]).toEqual(rows[index]);
          });
        }
        const longest = batches.map(({ batch }) => batch.sequenceLength);
        expect(longest).toEqual([...longest].sort((a, b) => b - a));
      }),
    );
  });
});

describe("readQuestions", () => {
  it("reads foldling's", async () => {
    const questions = await readQuestions(join(foldling, "data/questions-test.jsonl"));
    expect(questions).toHaveLength(600);
    expect(questions[0]).toEqual({
      subject: "facts_people",
      question: "Who is the best friend of Juna?",
      choices: ["Mara", "Nels", "Minna", "Ivo"],
      answer: 0,
    });
  });

  it.each([
    ['{"question":"Q","choices":["a"],"answer":0}', /line 1, choices/],
    ['{"question":"Q","choices":["a","b"],"answer":2}', /no such choice.*line 1, answer/],
    ['{"question":"Q","choices":["a","b"],"answer":"A"}', /line 1, answer/],
    ['{"choices":["a","b"],"answer":1}', /line 1, question/],
  ])("refuses %s", async (line, message) => {
    const path = await file("q.jsonl", line);
    await expect(readQuestions(path)).rejects.toThrow(code("QUESTION_INVALID"));
    await expect(readQuestions(path)).rejects.toThrow(message);
  });
});
