import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, it } from "vitest";
import { pathsFrom, recipeInputs, resolvePaths } from "./recipe-paths.js";
import type { Recipe } from "./recipe-schema.js";

it("paths from a folder lead back to the same files from there, through links above them too", async () => {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "recipe-paths-")));
  try {
    await mkdir(join(folder, "real", "deep"), { recursive: true });
    await symlink(join("real", "deep"), join(folder, "link"));
    await writeFile(join(folder, "real", "deep", "a[1].txt"), "");
    const recipe: Recipe = {
      model: join(folder, "link", "model"),
      calibration: `${join(folder, "link", "a[1].txt")}:0.5,self:0.5`,
      methods: [{ method: "mka", strategy: join(folder, "out", "mine.ts") }],
      layers: [3],
    };
    const out = join(folder, "out");
    const relative = pathsFrom(recipe, out);
    expect(relative).toEqual({
      model: "../real/deep/model",
      calibration: { text: "../real/deep/a[1].txt:0.5,self:0.5" },
      // It must not be taken for the name of a built-in one.
      methods: [{ method: "mka", strategy: "./mine.ts" }],
      layers: [3],
    });
    expect(resolvePaths(relative, join(out, "manifest.json"))).toMatchObject({
      model: join(folder, "real", "deep", "model"),
      calibration: { text: `${join(folder, "real", "deep", "a[1].txt")}:0.5,self:0.5` },
      methods: [{ strategy: join(folder, "out", "mine.ts") }],
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

it("a module's path may hold a +, with +wrong behind it or not", () => {
  const calibration = "my+task.ts:a.jsonl:0.5,my+task.ts+wrong:b.jsonl[2:3]:0.5";
  const recipe: Recipe = { model: "m", calibration, methods: ["mka"], layers: [3] };
  const at = (name: string) => resolve("/recipes", name);
  const module = at("my+task.ts");
  expect(resolvePaths(recipe, at("recipe.yaml")).calibration).toEqual({
    text: `${module}:${at("a.jsonl")}:0.5,${module}+wrong:${at("b.jsonl")}[2:3]:0.5`,
  });
  expect(recipeInputs(recipe).files).toEqual(["my+task.ts", "my+task.ts"]);
});

it("knows all that a recipe reads", () => {
  expect(
    recipeInputs({
      model: "m",
      calibration: { text: "a.txt[2:3],self", questions: "q.jsonl" },
      evaluate: { texts: ["b.txt"], tasks: ["piqa:c.jsonl[0:4]"] },
      planners: ["plan.json", "./p.ts", "random"],
      measures: ["cosine", { id: "./m.js", embedding: "./e.js" }],
      layers: [3],
    }),
  ).toEqual({
    texts: ["a.txt", "q.jsonl", "b.txt", "c.jsonl"],
    plans: ["plan.json"],
    files: ["./p.ts", "./m.js", "./e.js"],
  });
});
