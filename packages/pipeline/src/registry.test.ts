import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Planner, SimilarityMeasure } from "@layerfold/core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makePlugin, pluginFact } from "./registry.js";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-"));
});

afterAll(() => rm(folder, { recursive: true }));

const moduleOf = async (name: string, text: string) => {
  const file = join(folder, name);
  await writeFile(file, text);
  return file;
};
const planner = (note: string) =>
  `export default (options) => ({ kind: "planner", id: "mine", options, needs: [], plan() {} }); // ${note}`;

it("tells by the text of a user's module which plug-in took part", async () => {
  const facts = [];
  for (const name of ["one.mjs", "two.mjs"]) {
    const made = await makePlugin<Planner>("planner", await moduleOf(name, planner(name)), { a: 1 });
    facts.push(pluginFact(made));
  }
  expect(facts[0]).toMatchObject({
    kind: "planner",
    id: "mine",
    options: { a: 1 },
    module: { name: "one.mjs" },
  });
  expect(facts[0].module?.sha256).not.toBe(facts[1].module?.sha256);
  expect(pluginFact(await makePlugin("planner", "reverse", {}))).not.toHaveProperty("module");
});

it("refuses a module that holds no such plug-in, or does not load", async () => {
  const other = await moduleOf("other.mjs", 'export default { kind: "measure", id: "x", options: {} };');
  await expect(makePlugin("planner", other, {})).rejects.toThrow(
    expect.objectContaining({ code: "PLUGIN_MODULE", got: 'kind "measure"' }),
  );
  const broken = await moduleOf("broken.mjs", "export default (");
  await expect(makePlugin("planner", broken, {})).rejects.toThrow(
    expect.objectContaining({ code: "PLUGIN_MODULE", where: broken }),
  );
  await expect(makePlugin("planner", "revers", {})).rejects.toThrow(
    expect.objectContaining({
      code: "PLUGIN_UNKNOWN",
      message: expect.stringContaining('Did you mean "reverse"?'),
    }),
  );
});

it.each([
  ["throws.ts", "throw new Error('not today\\nnor tomorrow');", /cannot load the module: not today \(at/],
  ["throws-null.mjs", "throw null;", /cannot load the module: null/],
  ["nothing.ts", "export const compare = () => 1;", /got no default export/],
  ["nothing.mjs", "export const compare = () => 1;", /got no default export/],
  ["imports.ts", "import './nowhere.js'; export default {};", /cannot load the module: [^\n]*nowhere/],
  [
    "factory.ts",
    "export default () => { throw new Error('no memory'); };",
    /default export fails: no memory/,
  ],
  ["class.mjs", "export default class {}", /default export fails: Class constructor/],
  ["promise.mjs", "export default async () => ({});", /got object/],
  [
    "bare.mjs",
    'export default { kind: "similarity", id: "x", options: {}, compare() {} };',
    /wanted .*prepare\(\)/,
  ],
  [
    "optionless.mjs",
    'export default { kind: "similarity", id: "x", prepare() {}, compare() {} };',
    /wanted options/,
  ],
])("refuses the module %s in one line", async (name, text, message) => {
  const made = makePlugin("similarity", await moduleOf(name, text), {});
  await expect(made).rejects.toThrow(expect.objectContaining({ code: "PLUGIN_MODULE" }));
  await expect(made).rejects.toThrow(message);
  await expect(made).rejects.toThrow(/^[^\n]*$/);
});

it("refuses a module that is not there", async () => {
  for (const name of ["nowhere.ts", "nowhere.mjs", "."]) {
    await expect(makePlugin("similarity", `${folder}/${name}`, {})).rejects.toThrow(/no such module/);
  }
});

it("names the module in what its plug-in throws, at once or later", async () => {
  const text = `export default {
    kind: "similarity", id: "mine", options: {},
    prepare(x) { return x.nowhere.more; },
    async compare() { throw new Error("not alike"); },
  };`;
  const file = await moduleOf("fails.mjs", text);
  const measure = await makePlugin<SimilarityMeasure>("similarity", file, {});
  const failed = expect.objectContaining({ code: "PLUGIN_FAILED", where: file });
  expect(() => measure.prepare({} as never, {} as never)).toThrow(failed);
  await expect(measure.compare({}, {}, {} as never)).rejects.toThrow(failed);
});
