import { expect, it } from "vitest";
import { parseTextSource } from "./inputs/text-source.js";
import { isModulePath, moduleTask } from "./module-path.js";

it("tells paths of modules from names", () => {
  for (const path of ["./a", "../a.ts", "/opt/a.js", "~/a.mjs", "a.cts", "C:\\a"])
    expect(isModulePath(path), path).toBe(true);
  for (const name of ["npib", "gptq-w4g128", "component-fold"]) expect(isModulePath(name), name).toBe(false);
});

it("reads a task of one's own before a file, and a source file with a share as a text", () => {
  expect(moduleTask("./mine.ts:rows.jsonl[:5]")).toEqual({ task: "./mine.ts", rest: "rows.jsonl[:5]" });
  expect(moduleTask("mine.mjs+wrong:rows.jsonl")).toEqual({ task: "mine.mjs+wrong", rest: "rows.jsonl" });
  for (const text of ["code.ts:0.5", "code.ts", "piqa:rows.jsonl"])
    expect(moduleTask(text), text).toBeUndefined();
  expect(parseTextSource("./mine.ts+wrong:rows.jsonl:0.25")).toEqual({
    file: "rows.jsonl",
    task: "./mine.ts+wrong",
    range: undefined,
    share: 0.25,
  });
  expect(parseTextSource("code.ts:0.5")).toMatchObject({ file: "code.ts", share: 0.5 });
});
