import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readAblationRecipe } from "./ablation-recipe.js";
import { readRecipe, recipeInCode } from "./read-recipe.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "recipe-"));
});
afterAll(() => rm(folder, { recursive: true }));

let written = 0;
async function file(content: string, name = `${written++}.yaml`): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

it("reads texts alone or as a mapping, lists and parts, and resolves paths against the recipe", async () => {
  const { recipe } = await readRecipe(
    await file(`
model: ../models/small
calibration: [a.txt:0.5, "piqa:b.jsonl[2:8]:0.5"]
evaluate: { texts: c.txt, questions: "q.jsonl[0:9]", tasks: [piqa:d.jsonl] }
methods: [mka, { method: sleb, strategy: ./mine.ts, repair: { id: reconstruct, options: { ridge: 0.1 } } }]
planners: [plan.json]
measures: [{ id: ./m.js, embedding: pca }]
ratios: [0.25]
output: out
`),
  );
  expect(recipe).toEqual({
    model: join(folder, "..", "models", "small"),
    calibration: { text: `${join(folder, "a.txt")}:0.5,piqa:${join(folder, "b.jsonl")}[2:8]:0.5` },
    evaluate: {
      texts: [join(folder, "c.txt")],
      questions: `${join(folder, "q.jsonl")}[0:9]`,
      tasks: [`piqa:${join(folder, "d.jsonl")}`],
    },
    methods: [
      "mka",
      {
        method: "sleb",
        strategy: join(folder, "mine.ts"),
        repair: { id: "reconstruct", options: { ridge: 0.1 } },
      },
    ],
    planners: [join(folder, "plan.json")],
    measures: [{ id: join(folder, "m.js"), embedding: "pca" }],
    ratios: [0.25],
    output: join(folder, "out"),
  });
  const hub = await readRecipe(
    await file("{ model: hf:a/b, methods: [mka], layers: [2], calibration: self }"),
  );
  expect(hub.recipe).toMatchObject({ model: "hf:a/b", calibration: { text: "self" } });
});

const wrong: readonly (readonly [string, string, string, RegExp])[] = [
  [
    "an unknown key",
    "model: m\nmethods: [mka]\nplaners: [a]\nlayers: [3]\n",
    ":3:1, planers",
    /unknown key "planers"\. Did you mean "planners"\?/,
  ],
  [
    "an unknown key in a mapping",
    "model: m\nmethods: [mka]\nlayers: [3]\nevaluate:\n  texts: a\n  windw: 4\n",
    ":6:3, evaluate.windw",
    /Did you mean "window"\?/,
  ],
  [
    "an unknown key of a method",
    "model: m\nlayers: [3]\nmethods:\n  - mka\n  - { method: sleb, strategi: slerp }\n",
    ":5:21, methods.1.strategi",
    /Did you mean "strategy"\?/,
  ],
  [
    "an empty list",
    "model: m\nmethods: []\nlayers: [3]\n",
    ":2:10, methods",
    /empty list makes an empty grid/,
  ],
  [
    "the same twice",
    "model: m\nmethods: [mka, sleb, mka]\nlayers: [3]\n",
    ":2:22, methods.2",
    /"mka" stands here twice/,
  ],
  ["layers twice", "model: m\nmethods: [mka]\nlayers: [3, 3]\n", ":3:13, layers.1", /twice/],
  ["no model", "methods: [mka]\nlayers: [3]\n", ":1:1, model", /expected string/],
  ["no grid", "model: m\nlayers: [3]\n", ":1:1", /wanted methods, or planners/],
  ["two depths", "model: m\nmethods: [mka]\nlayers: [3]\nratios: [0.5]\n", ":4:9, ratios", /either layers/],
  [
    "another type",
    "model: m\nmethods: [[mka]]\nlayers: [3]\n",
    ":2:11, methods.0",
    /wanted string or object/,
  ],
  ["a value out of range", "model: m\nmethods: [mka]\nlayers: [2.5]\n", ":3:10, layers.0", /expected int/],
  ["an unknown row", "model: m\nmethods: [mka]\nlayers: [3]\nrows: [folds]\n", ":4:8, rows.0", /"fold"/],
  ["tabs", "model: m\nmethods:\n\t- mka\n", ":3:1", /Tabs are not allowed/],
  ["a key twice", "model: m\nmodel: n\n", ":2:1", /unique/],
  ["a tag", "model: !mine m\n", ":1:8", /tag/],
  ["two documents", "model: m\n---\nmodel: n\n", ":2:1", /multiple documents/],
  ["nothing", "", "", /expected object/],
  ["a list", "- a\n", ":1:1", /expected object/],
];

it.each(wrong)("refuses %s, and says where", async (_, content, where, message) => {
  const path = await file(content);
  await expect(readRecipe(path)).rejects.toMatchObject({
    code: "RECIPE_INVALID",
    where: `${path}${where}`,
    message: expect.stringMatching(message),
  });
});

it("refuses aliases that make much of little, a folder, and a file that is not there", async () => {
  // 9⁹ values if all were followed.
  const lines = "bcdefghij".split("").map((name, i) => {
    const before = "abcdefghi"[i];
    return `${name}: &${name} [${Array(9).fill(`*${before}`).join(", ")}]`;
  });
  const bomb = await file(["a: &a [x]", ...lines].join("\n"));
  await expect(readRecipe(bomb)).rejects.toMatchObject({
    code: "RECIPE_INVALID",
    message: expect.stringContaining("alias"),
  });
  const path = join(folder, "folder.yaml");
  await mkdir(path);
  await expect(readRecipe(path)).rejects.toMatchObject({ code: "FILE_IS_FOLDER", where: path });
  await expect(readRecipe(join(folder, "none.yaml"))).rejects.toMatchObject({ code: "FILE_MISSING" });
});

it("reads JSON, indented by tabs too, with line and column", async () => {
  const good = await file('{\n\t"model": "m",\n\t"methods": ["mka"],\n\t"layers": [3]\n}', "a.json");
  expect((await readRecipe(good)).recipe).toMatchObject({ methods: ["mka"], layers: [3] });
  const bad = await file('{\n\t"model": "m",\n\t"methods": ["mka"],\n\t"layer": [3]\n}', "b.json");
  await expect(readRecipe(bad)).rejects.toMatchObject({
    where: `${bad}:4:2, layer`,
    message: expect.stringContaining('Did you mean "layers"?'),
  });
});

it("takes what follows an anchor, within reason", async () => {
  const path = await file("model: m\nmethods: &all [mka, sleb]\nlayers: [3]\nplanners: *all\n");
  expect((await readRecipe(path)).recipe).toMatchObject({ planners: ["mka", "sleb"] });
});

it("reads a manifest as the recipe that it holds, and finds places in it", async () => {
  const manifest = (recipe: object) =>
    JSON.stringify({ layerfold: "0.1.0", command: "run", recipe, data: { calibration: [] } }, null, 2);
  const good = await file(manifest({ model: "../m", methods: ["mka"], layers: [3] }), "manifest.json");
  const { recipe, earlier } = await readRecipe(good);
  expect(recipe.model).toBe(join(folder, "..", "m"));
  expect(earlier).toMatchObject({ data: { calibration: [] } });
  const bad = await file(manifest({ model: "../m", methods: ["mka"], layers: [2.5] }), "bad.json");
  await expect(readRecipe(bad)).rejects.toMatchObject({ where: `${bad}:10:7, recipe.layers.0` });
});

it("ablation's own keys stand for the same recipe", async () => {
  const path = await file(`
model: m
calibration: a.txt
evaluate: b.txt
questions: q.jsonl
maxTokens: 100
calibrationTokens: 50
window: 32
measures: [npib, cosine]
embeddings: { npib: pca }
planners: [last-first]
layers: [3]
`);
  expect((await readAblationRecipe(path)).recipe).toEqual({
    model: join(folder, "m"),
    calibration: { text: join(folder, "a.txt"), tokens: 50, window: 32, pooling: "last" },
    evaluate: {
      texts: [join(folder, "b.txt")],
      questions: join(folder, "q.jsonl"),
      window: 32,
      max_tokens: 100,
    },
    measures: [{ id: "npib", embedding: "pca" }, "cosine"],
    planners: ["last-first"],
    strategies: ["weighted"],
    repairs: ["none"],
    layers: [3],
    rows: ["fold"],
    report: "ablation",
  });
  const other = await file(
    "model: m\ncalibration: a.txt\nplanners: [last-first]\nlayers: [3]\nmaxToken: 4\n",
  );
  await expect(readAblationRecipe(other)).rejects.toMatchObject({
    code: "RECIPE_INVALID",
    where: `${other}:5:1, maxToken`,
    message: expect.stringContaining('Did you mean "maxTokens"?'),
  });
});

it("a recipe in code is checked too", () => {
  const wrongKey = { model: "m", methods: ["mka"], layers: [3], layer: [3] };
  expect(() => recipeInCode(wrongKey)).toThrow(expect.objectContaining({ code: "OPTION_UNKNOWN" }));
  expect(() => recipeInCode({ model: "m", methods: ["mka"] })).toThrow(/either layers/);
});
