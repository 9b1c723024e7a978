import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fileSource, parseCalibration, parseTextSource, rowsOf, sourceName } from "./text-source.js";

const code = (wanted: string) => expect.objectContaining({ code: wanted });

describe("the name of a text", () => {
  it("is a file, a part of one with a share, or self", () => {
    expect(parseTextSource("a/b.c.txt")).toEqual({ file: "a/b.c.txt" });
    expect(parseTextSource("b.jsonl[200:400]:0.5")).toEqual({
      file: "b.jsonl",
      range: { from: 200, to: 400 },
      share: 0.5,
    });
    expect(parseTextSource("b.jsonl[:9]").range).toEqual({ from: 0, to: 9 });
    expect(parseTextSource("b.jsonl[7:]").range).toEqual({ from: 7 });
    expect(parseTextSource("C:\\data\\b.txt").file).toBe("C:\\data\\b.txt");
    expect(parseTextSource("self:2")).toEqual({ share: 2 });
    expect(parseTextSource("arc_easy:b.jsonl[200:]:0.5")).toEqual({
      task: "arc_easy",
      file: "b.jsonl",
      range: { from: 200 },
      share: 0.5,
    });
    expect(parseTextSource("piqa+wrong:b.jsonl")).toEqual({ task: "piqa+wrong", file: "b.jsonl" });
    expect(parseTextSource("./piqa:2")).toEqual({ file: "./piqa", share: 2 });
  });

  it("may hold brackets where there is such a file", async () => {
    const folder = await mkdtemp(join(tmpdir(), "texts[1]-"));
    const file = join(folder, "a[0:2].txt");
    expect(() => parseTextSource(`${file}[3:]`)).toThrow(code("TEXT_SOURCE"));
    await writeFile(file, "a");
    expect(parseTextSource(`${file}[3:]`)).toEqual({ file, range: { from: 3 } });
    expect(fileSource(file)).toEqual({ file });
    await rm(folder, { recursive: true });
  });

  it("reads back as it was written", () => {
    for (const text of ["a.txt", "b.jsonl[200:400]", "b.jsonl[7:]", "self", "mmlu:b[7:]", "mmlu+wrong:b"]) {
      expect(sourceName(parseTextSource(text))).toBe(text);
    }
  });

  it.each(["", "piqa:", "b.jsonl[4:4]", "b.jsonl[9:4]", "b.jsonl[x:4]", "b.jsonl[4]", "self[0:4]"])(
    "%j is none",
    (text) => {
      expect(() => parseTextSource(text)).toThrow(code("TEXT_SOURCE"));
    },
  );

  it("of what a model is judged on is a file's without a share", () => {
    expect(fileSource("b.jsonl[7:]")).toEqual({ file: "b.jsonl", range: { from: 7 } });
    for (const text of ["self", "a.txt:0.5", "piqa:a.jsonl"])
      expect(() => fileSource(text)).toThrow(code("TEXT_SOURCE"));
  });
});

describe("a calibration", () => {
  it("has shares that sum to 1, equal ones where none are given", () => {
    expect(parseCalibration("a.txt,self").map(({ share }) => share)).toEqual([0.5, 0.5]);
    expect(parseCalibration("a.txt:3,b.txt:1").map(({ share }) => share)).toEqual([0.75, 0.25]);
  });

  it.each(["a.txt:0.5,b.txt", "a.txt:0,b.txt:1", "a.txt,"])("%j is none", (text) => {
    expect(() => parseCalibration(text)).toThrow(code("TEXT_SOURCE"));
  });
});

it("rows are those that are named, and must be there", () => {
  const rows = ["a", "b", "c"];
  expect(rowsOf(rows, fileSource("x.jsonl"))).toEqual(rows);
  expect(rowsOf(rows, fileSource("x.jsonl[1:3]"))).toEqual(["b", "c"]);
  expect(rowsOf(rows, fileSource("x.jsonl[2:]"))).toEqual(["c"]);
  for (const text of ["x.jsonl[3:]", "x.jsonl[0:4]"]) {
    expect(() => rowsOf(rows, fileSource(text))).toThrow(code("TEXT_RANGE"));
  }
});
