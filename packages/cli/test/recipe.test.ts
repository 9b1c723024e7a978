import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkpoint, data } from "@layerfold/foldling";
import { presetIds } from "@layerfold/merge";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parse } from "yaml";
import { json, layerfold } from "./run-command.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "recipe-command-"));
});
afterAll(() => rmSync(folder, { recursive: true }));
const at = (...path: string[]) => join(folder, ...path);

const recipe = `
model: ${checkpoint}
seed: 5
evaluate: { texts: "${join(data, "validation.jsonl")}[0:3]" }
methods: [{ name: tail, planner: reverse, strategy: drop }]
layers: [15]
rows: [fold]
checkpoints: false
`;

it("run writes what the recipe says, with its seed unless another is given, and its manifest runs again to the same", async () => {
  writeFileSync(at("recipe.yaml"), recipe);
  const { result } = await json("run", at("recipe.yaml"), "--out", at("first"));
  expect(result.rows.map(({ id }: { id: string }) => id)).toEqual(["dense", "tail-15"]);
  const file = (...path: string[]) => readFileSync(at(...path), "utf8");
  expect(JSON.parse(file("first", "manifest.json"))).toMatchObject({ command: "run", seed: 5 });
  await json("run", at("first", "manifest.json"), "--out", at("again"));
  for (const name of ["results.json", "plan.json", "manifest.json", "report.html"]) {
    expect(file("again", name), name).toBe(file("first", name));
  }
  const refused = await json("run", at("recipe.yaml"), "--out", at("first"));
  expect([refused.code, refused.error.code]).toEqual([2, "OUTPUT_EXISTS"]);
  await json("run", at("recipe.yaml"), "--out", at("first"), "--force", "--seed", "6");
  expect(JSON.parse(file("first", "manifest.json"))).toMatchObject({ seed: 6, recipe: { seed: 6 } });
  expect((await layerfold("run", at("recipe.yaml"))).stdout).toContain("tail, 15 layers");
});

it("validate counts plans and rows, and tells of all that is wrong with exit code 2", async () => {
  writeFileSync(at("good.yaml"), recipe);
  expect((await json("validate", at("good.yaml"))).result).toEqual({ plans: 1, rows: 1, notes: [] });
  writeFileSync(at("bad.yaml"), recipe.replace("layers: [15]", "layrs: [15]"));
  const bad = await layerfold("validate", at("bad.yaml"));
  expect(bad.code).toBe(2);
  expect(bad.stderr).toContain(`unknown key "layrs". Did you mean "layers"?`);
  expect(bad.stderr).toContain(`${at("bad.yaml")}:6:1, layrs`);
  writeFileSync(at("two.yaml"), recipe.replace("reverse", "revers").replace("validation", "none"));
  const two = await json("validate", at("two.yaml"));
  expect(two.error).toMatchObject({ code: "RECIPE_INVALID", where: at("two.yaml") });
  expect(two.error.got).toMatch(/PLUGIN_UNKNOWN .*FILE_MISSING /);
});

it("init writes a recipe that editors know, and nothing over what stands there", async () => {
  expect((await layerfold("init", at("new", "recipe.yaml"))).code).toBe(0);
  const text = readFileSync(at("new", "recipe.yaml"), "utf8");
  expect(text).toContain("$schema=./recipe.schema.json");
  const schema = JSON.parse(readFileSync(at("new", "recipe.schema.json"), "utf8"));
  expect(Object.keys(schema.properties)).toEqual(expect.arrayContaining(Object.keys(parse(text))));
  expect((await json("init", at("new", "recipe.yaml"))).error.code).toBe("OUTPUT_EXISTS");
  expect((await layerfold("init", at("new", "other.yaml"))).code).toBe(0);
  writeFileSync(at("recipe.schema.json"), "{}");
  expect((await json("init", at("fresh.yaml"))).error).toMatchObject({ where: at("recipe.schema.json") });
});

it("the benchmark's recipe is a good one, and holds every method", async () => {
  const file = fileURLToPath(new URL("../../../benchmarks/quality.yaml", import.meta.url));
  expect((await json("validate", file)).result).toMatchObject({ plans: 4 * presetIds.length });
  expect(parse(readFileSync(file, "utf8")).methods).toEqual(presetIds);
});
