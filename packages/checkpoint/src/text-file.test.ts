import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import type { ReportEvent } from "@layerfold/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readDocuments } from "./documents.js";
import { openCheckpoint } from "./open-checkpoint.js";
import { readQuestions } from "./questions.js";
import { readTextFile, textExtension } from "./text-file.js";
import { openTokenizer } from "./tokenizer.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-text-file-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, content: string | Uint8Array): Promise<string> {
  await writeFile(join(folder, name), content);
  return join(folder, name);
}

async function read(content: string | Uint8Array, name = "a.txt") {
  const events: ReportEvent[] = [];
  const text = await readTextFile(await file(name, content), { report: (event) => events.push(event) });
  return { text, notes: events.map((event) => (event.type === "diagnostic" ? event.message : "")) };
}

const bytes = (...parts: (string | readonly number[])[]) =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from(part))));
const bigEndian = (text: string) => Buffer.from(text, "utf16le").swap16();

describe("readTextFile", () => {
  // Letters of two, three and four bytes, and a replacement character of the text's own.
  const text = "Grüße, “Welt” 😀 \ufffd\nein zweiter Satz, mit viel mehr Latein.\n";

  it("takes UTF-8 as it stands, and says nothing", async () => {
    for (const same of [text, "", "a\rb\n", "\u001b[1mbold\f"]) {
      expect(await read(same)).toEqual({ text: same, notes: [] });
    }
  });

  it("drops a byte order mark and reads CRLF as LF, counted", async () => {
    const { text: read1, notes } = await read(`\ufeff${text.replaceAll("\n", "\r\n")}`);
    expect(read1).toBe(text);
    expect(notes).toEqual([
      expect.stringMatching(/a\.txt: byte order mark dropped, 2 line ends CRLF read as LF$/),
    ]);
    // A mark anywhere else is a character.
    expect((await read("a\ufeff")).text).toBe("a\ufeff");
  });

  it.each([
    ["UTF-16LE", "marked", (t: string) => Buffer.from(`\ufeff${t}`, "utf16le")],
    ["UTF-16BE", "marked", (t: string) => bigEndian(`\ufeff${t}`)],
    ["UTF-16LE", "plain to see", (t: string) => Buffer.from(t, "utf16le")],
    ["UTF-16BE", "plain to see", bigEndian],
  ] as const)("reads %s where it is %s, and says so", async (name, how, encode) => {
    // Without a mark, the text must show a zero in every other byte.
    const given = how === "marked" ? text : text.replaceAll(/[^\p{ASCII}ü]/gu, "");
    const found = await read(encode(given));
    expect(found.text).toBe(given);
    expect(found.notes).toEqual([expect.stringContaining(`read as ${name}`)]);
  });

  it("reads through gzip, within bounds", async () => {
    expect(await read(gzipSync(text))).toEqual({ text, notes: [] });
    const bomb = await file("bomb.txt", gzipSync(Buffer.alloc(100_000, 97)));
    await expect(readTextFile(bomb, { maxBytes: 99_999 })).rejects.toMatchObject({ code: "TEXT_TOO_LARGE" });
    expect(await readTextFile(bomb, { maxBytes: 100_000 })).toHaveLength(100_000);
    const plain = await file("plain.txt", "aaa");
    await expect(readTextFile(plain, { maxBytes: 2 })).rejects.toMatchObject({ code: "TEXT_TOO_LARGE" });
    const torn = gzipSync(text).subarray(0, 40);
    await expect(read(torn)).rejects.toMatchObject({ code: "GZIP_INVALID" });
    await expect(read(gzipSync(gzipSync(text)))).rejects.toMatchObject({
      code: "FILE_NOT_TEXT",
      got: "gzip within gzip",
    });
  });

  it.each([
    // ü is two bytes, so é of Latin-1 stands at byte 4.
    ["Latin-1", bytes("aüb", [0xe9], "t"), "TEXT_ENCODING", /0xe9.*byte 4$/],
    ["a continuation byte alone", bytes("ab", [0x80]), "TEXT_ENCODING", /byte 2$/],
    ["a letter cut off at the end", bytes("ab", [0xf0, 0x9f, 0x98]), "TEXT_ENCODING", /byte 2$/],
    ["an invalid byte behind U+FFFD", bytes("\ufffd\ufffd", [0xff]), "TEXT_ENCODING", /byte 6$/],
    ["one behind a mark", bytes("\ufeff", "a", [0xff]), "TEXT_ENCODING", /byte 4$/],
    ["a surrogate as UTF-8", bytes([0xed, 0xa0, 0x80]), "TEXT_ENCODING", /byte 0$/],
    ["half of UTF-16", bytes([0xff, 0xfe, 0x61, 0, 0x62]), "TEXT_ENCODING", /byte 4$/],
    ["half a pair in UTF-16", bytes([0xff, 0xfe, 0x61, 0, 0, 0xd8, 0x61, 0]), "TEXT_ENCODING", /byte 4$/],
    [
      "safetensors",
      bytes([64, 9, 1, 0, 0, 0, 0, 0], '{"a":1}', [0xff, 0xff]),
      "FILE_NOT_TEXT",
      /safetensors/,
    ],
    ["a tar archive", bytes("a".repeat(257), "ustar"), "FILE_NOT_TEXT", /tar/],
    ["what is no text long before it is no UTF-8", bytes("aü", [0], [0xff]), "FILE_NOT_TEXT", /byte 3$/],
    ["a zero", bytes("aü", [0], "b"), "FILE_NOT_TEXT", /binary data.*byte 3$/],
    // As UTF-16 they would be letters and control characters.
    [
      "16-bit integers",
      new Uint8Array(Int16Array.of(97, 5, 98, 120, 300, 7).buffer),
      "FILE_NOT_TEXT",
      /byte/,
    ],
    ["UTF-32", bytes([0xff, 0xfe, 0, 0, 0x61, 0, 0, 0]), "FILE_NOT_TEXT", /UTF-32/],
    ["Parquet", bytes("PAR1", [0x15, 4]), "FILE_NOT_TEXT", /Parquet/],
    ["zip", bytes("PK", [3, 4, 20, 0]), "FILE_NOT_TEXT", /zip/],
    ["PDF", bytes("%PDF-1.7\n"), "FILE_NOT_TEXT", /PDF/],
    ["Zstandard", bytes([0x28, 0xb5, 0x2f, 0xfd, 4]), "FILE_NOT_TEXT", /Zstandard/],
  ])("refuses %s by name or by byte", async (_, content, code, message) => {
    await expect(read(content)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message.source.replace("$", "\\)$")),
    });
  });

  it("knows what a name says, packed or not", () => {
    expect(["a.jsonl", "B.JSONL.gz", "c.txt", "gz", "d.gz"].map(textExtension)).toEqual([
      ".jsonl",
      ".jsonl",
      ".txt",
      "",
      "",
    ]);
  });
});

describe("every reader of text", () => {
  const packed = (content: string) => gzipSync(`\ufeff${content.replaceAll("\n", "\r\n")}`);

  it("reads documents and questions so", async () => {
    const given = packed('{"text":"one"}\n{"text":"two"}\n');
    expect(await readDocuments(await file("a.jsonl.gz", given))).toMatchObject({
      kind: "documents",
      texts: ["one", "two"],
    });
    expect(await readDocuments(await file("a.json", '\ufeff["one"]'))).toMatchObject({ texts: ["one"] });
    const question = { subject: "", question: "Q", choices: ["a", "b"], answer: 1 };
    expect(await readQuestions(await file("q.jsonl", packed(`${JSON.stringify(question)}\n`)))).toEqual([
      question,
    ]);
  });

  it("leaves line ends in documents, and says in how many", async () => {
    const events: ReportEvent[] = [];
    const path = await file("b.jsonl", '{"text":"a\\r\\nb"}\n{"text":"c"}\n');
    expect(await readDocuments(path, (event) => events.push(event))).toMatchObject({
      texts: ["a\r\nb", "c"],
    });
    expect(events).toEqual([
      expect.objectContaining({ code: "DOCUMENTS_CRLF", message: expect.stringContaining("1 of 2") }),
    ]);
  });

  it("reads a checkpoint's JSON so", async () => {
    const source = fileURLToPath(new URL("../../../models/foldling/checkpoint/", import.meta.url));
    await mkdir(join(folder, "model"));
    for (const name of ["config.json", "tokenizer.json"]) {
      await file(`model/${name}`, `\ufeff${await readTextFile(join(source, name))}`);
    }
    const template = "{% for m in messages %}\r\n{{ m }}{% endfor %}";
    await file("model/chat_template.jinja", template);
    const tokenizer = await openTokenizer(join(folder, "model"));
    expect(tokenizer.encode("Mara")).toEqual((await openTokenizer(source)).encode("Mara"));
    // As Python's text mode reads it.
    expect(tokenizer.chatTemplate).toBe(template.replace("\r\n", "\n"));
    // The config is read; what is missing is the weights.
    await expect(openCheckpoint(join(folder, "model"))).rejects.toMatchObject({ code: "WEIGHTS_MISSING" });
  });
});
