import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Planner } from "@layerfold/core";
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
  `export default (options) => ({ kind: "planner", id: "mine", options }); // ${note}`;

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
