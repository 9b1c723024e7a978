import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { codeDigest } from "./code-digest.js";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-code-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
}
const at = (name: string) => join(root, name);

const strategies = {
  "index.js": 'export { slerp } from "./slerp.js";\nexport { mean as average } from "./mean.js";\n',
  "slerp.js": 'import { angle } from "./angle.js";\nexport const slerp = () => angle;\n',
  "mean.js": "export const mean = () => 1;\n",
  "angle.js": "export const angle = 1;\n",
};

describe("codeDigest", () => {
  it("changes with a module and with all that it imports", async () => {
    await write(strategies);
    const before = codeDigest([at("slerp.js")]);
    expect(codeDigest([at("slerp.js")])).toBe(before);
    await write({ "angle.js": "export const angle = 2; // a longer text\n" });
    expect(codeDigest([at("slerp.js")])).not.toBe(before);
  });

  it("looks through a module that only hands on, at what is asked for", async () => {
    await write({
      ...strategies,
      "a.js": 'import { slerp } from "./index.js";\nslerp();\n',
      "b.js": 'import { average as mean } from "./index.js";\nmean();\n',
    });
    const [slerp, mean] = [codeDigest([at("a.js")]), codeDigest([at("b.js")])];
    await write({ "mean.js": "export const mean = () => 22;\n" });
    expect(codeDigest([at("a.js")])).toBe(slerp);
    expect(codeDigest([at("b.js")])).not.toBe(mean);
    expect(codeDigest([at("index.js")], { names: ["slerp"] })).toBe(
      codeDigest([at("index.js")], { names: ["slerp"] }),
    );
    expect(codeDigest([at("index.js")], { names: ["slerp"] })).not.toBe(
      codeDigest([at("index.js")], { names: ["average"] }),
    );
  });

  it.each([
    ["a namespace", 'import * as all from "./index.js";\nall.slerp();\n'],
    ["a bare import", 'import "./index.js";\nlet x;\n'],
    ["a dynamic import", 'export const load = () => import("./mean.js");\n'],
    ["a worker's module", 'export const url = new URL("./mean.js", import.meta.url);\n'],
    ["all of it handed on", 'export * from "./index.js";\nlet y;\n'],
  ])("follows %s to everything", async (_, text) => {
    await write({ ...strategies, "use.js": text });
    const before = codeDigest([at("use.js")]);
    await write({ "mean.js": "export const mean = () => 333;\n" });
    expect(codeDigest([at("use.js")])).not.toBe(before);
  });

  it("does not look into what it is told not to", async () => {
    await write({
      ...strategies,
      "registry.js": 'import * as all from "./index.js";\nexport default all;\n',
    });
    await write({ "run.js": 'import all from "./registry.js";\nall();\n' });
    const before = codeDigest([at("run.js")], { except: [at("registry.js")] });
    await write({ "mean.js": "export const mean = () => 4444;\n" });
    expect(codeDigest([at("run.js")], { except: [at("registry.js")] })).toBe(before);
  });

  it("reads TypeScript, whose imports of types alone count for nothing", async () => {
    await write({
      "types.ts": "export interface A { readonly b: number }\n",
      "formula.ts": "export const formula = (x: number): number => x;\n",
      "own.ts":
        'import type { A } from "./types.js";\nimport { type A as B, formula } from "./formula.js";\nexport default (a: A & B) => formula(a.b);\n',
    });
    const before = codeDigest([at("own.ts")]);
    await write({ "types.ts": "export interface A { readonly b: number; readonly c?: number }\n" });
    expect(codeDigest([at("own.ts")])).toBe(before);
    await write({ "formula.ts": "export const formula = (x: number): number => 2 * x;\n" });
    expect(codeDigest([at("own.ts")])).not.toBe(before);
  });

  it("takes other packages by name and version, and is the same wherever the files lie", async () => {
    const dependency = (version: string) => ({
      "node_modules/dep/package.json": JSON.stringify({ name: "dep", version }),
      "node_modules/dep/index.js": `export default "${version}";\n`,
    });
    await write({ "a/use.js": 'import dep from "dep";\ndep();\n', ...dependency("1.0.0") });
    await write({ "b/c/use.js": 'import dep from "dep";\ndep();\n' });
    const before = codeDigest([at("a/use.js")]);
    expect(codeDigest([at("b/c/use.js")])).toBe(before);
    await write(dependency("1.0.1"));
    expect(codeDigest([at("a/use.js")])).not.toBe(before);
  });

  it("names an import that leads nowhere, and a module that is none", async () => {
    await write({ "a.js": 'import "./gone.js";\nlet z;\n', "b.js": "import {{{ from\n" });
    expect(() => codeDigest([at("a.js")])).toThrow(expect.objectContaining({ code: "MODULE_MISSING" }));
    expect(() => codeDigest([at("b.js")])).toThrow(expect.objectContaining({ code: "MODULE_INVALID" }));
  });

  it("does not run in circles", async () => {
    await write({
      "a.js": 'import { b } from "./b.js";\nexport const a = () => b;\n',
      "b.js": 'import { a } from "./a.js";\nexport const b = () => a;\n',
    });
    expect(codeDigest([at("a.js")])).toBe(codeDigest([at("b.js")]));
  });
});
