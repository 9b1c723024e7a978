import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ReportEvent } from "@layerfold/core";
import { checkpoint, data } from "@layerfold/foldling";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { alwaysAlike } from "../always-alike.test.fixture.js";
import type { Recipe } from "../recipe/recipe-schema.js";
import { capture } from "./capture.js";
import { compareLayers } from "./compare-layers.js";
import { compress } from "./compress.js";
import { plan } from "./plan.js";
import { runRecipe } from "./run-recipe.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "run-recipe-"));
});
afterAll(() => rm(folder, { recursive: true }));

const calibration = `${join(data, "calibration.jsonl")}[0:8]`;
const validation = `${join(data, "validation.jsonl")}[0:3]`;
const at = (...path: string[]) => join(folder, ...path);
const json = async (...path: string[]) => JSON.parse(await readFile(at(...path), "utf8"));

const always = alwaysAlike("always");

/** All files in a folder, by their paths in it. */
async function contents(path: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of await readdir(at(path), { recursive: true })) {
    if ((await stat(at(path, name))).isFile()) found.set(name, await readFile(at(path, name), "latin1"));
  }
  return found;
}

it("one call does the whole thing, and its manifest runs again to the same bytes", async () => {
  const stdout = vi.spyOn(process.stdout, "write");
  const request = {
    model: checkpoint,
    layers: [15],
    method: "mka",
    repair: "channel-scale",
    calibration,
    evaluate: [validation],
    out: at("first"),
  };
  const result = await compress(request, { seed: 3, set: ["embedding.alpha=0.5", "embedding.dimensions=2"] });
  expect(stdout).not.toHaveBeenCalled();
  stdout.mockRestore();
  expect(result.rows.map(({ id }) => id)).toEqual([
    "dense",
    "mka+channel-scale-15",
    "mka+channel-scale-15-control",
  ]);
  expect(result.rows[0].perplexity_ratio).toBe(1);
  expect(result.rows[1].perplexity_ratio).toBeGreaterThan(1);
  const { recipe, seed } = await json("first", "manifest.json");
  expect([recipe.seed, seed]).toEqual([3, 3]);
  expect(recipe.options).toEqual({ embedding: { alpha: 0.5, dimensions: 2 } });
  expect(recipe).not.toHaveProperty("output");

  const heard: ReportEvent[] = [];
  const again = await runRecipe(
    at("first", "manifest.json"),
    { out: at("again") },
    { report: (event) => heard.push(event) },
  );
  expect(again.rows).toEqual(result.rows);
  expect(again.tasks.found).toBe(0);
  const [one, two] = [await contents("first"), await contents("again")];
  expect([...two.keys()].sort()).toEqual([...one.keys()].sort());
  // The manifest names the command, and the report holds the manifest.
  const different = [...one.keys()].filter((name) => one.get(name) !== two.get(name));
  expect(different.sort()).toEqual(["manifest.json", "report.html"]);
  expect(await json("again", "manifest.json")).toEqual({
    ...(await json("first", "manifest.json")),
    command: "run",
  });
  expect(heard.filter((event) => event.type === "diagnostic" && event.code === "MANIFEST_DIFFERS")).toEqual(
    [],
  );
});

it("says so where a manifest's text is another now", async () => {
  await writeFile(at("text.txt"), "It was a small house by the river. ".repeat(40));
  const recipe: Recipe = {
    model: checkpoint,
    evaluate: { texts: at("text.txt"), window: 32, max_tokens: 64 },
    methods: [{ name: "plain", planner: "reverse", strategy: "drop" }],
    layers: [15],
    rows: ["fold"],
    checkpoints: false,
  };
  const { rows } = await runRecipe(recipe, { out: at("told") });
  expect(rows.map(({ id }) => id)).toEqual(["dense", "plain-15"]);
  expect((await readdir(at("told"))).sort()).toEqual(
    [".layerfold.json", "manifest.json", "plan.json", "report.html", "results.json"].sort(),
  );
  await writeFile(at("text.txt"), "It was a large house by the sea. ".repeat(40));
  const heard: string[] = [];
  const report = (event: ReportEvent) => {
    if (event.type === "diagnostic" && event.code === "MANIFEST_DIFFERS") heard.push(event.message);
  };
  await runRecipe(at("told", "manifest.json"), {}, { report });
  expect(heard).toEqual(["not what it was when the manifest was written: evaluate"]);
});

it("methods and depths have folders of their own, and a fold stays that is its own control", async () => {
  const result = await runRecipe({
    model: checkpoint,
    calibration,
    evaluate: validation,
    methods: [
      "shortgpt",
      {
        name: "own",
        planner: "best-adjacent-pair",
        strategy: "drop",
        measure: always({ value: 0.25 }) as never,
      },
    ],
    layers: [15, 14],
    output: at("grid"),
  });
  expect(result.rows.map(({ id }) => id)).toEqual([
    "dense",
    ...["shortgpt-15", "shortgpt-15-control"],
    ...["shortgpt-14", "shortgpt-14-control"],
    ...["own-15", "own-15-control"],
    ...["own-14", "own-14-control"],
  ]);
  const files = [...(await contents("grid")).keys()];
  for (const method of ["shortgpt", "own"]) {
    for (const depth of [15, 14]) {
      expect(files).toContain(join(method, `layers-${depth}`, "model.safetensors"));
      expect(files).toContain(join(method, `plan-${depth}.json`));
    }
  }
  // What shortgpt does is what its control does: the same weights are measured once.
  const [, fold, control] = result.rows;
  expect(control.perplexity).toBe(fold.perplexity);
  const { recipe } = await json("grid", "manifest.json");
  expect(recipe.methods[1].measure).toEqual({ id: "always", options: { value: 0.25 } });
});

it("a list on every axis is an ablation, and a quality table says whether merging beats dropping", async () => {
  const grid: Recipe = {
    model: checkpoint,
    calibration,
    evaluate: validation,
    layers: [15],
  };
  const work = { store: at("shared.work") };
  const ablation = await runRecipe(
    {
      ...grid,
      planners: ["last-first"],
      strategies: ["weighted", "drop"],
      measures: ["cosine"],
      rows: ["fold"],
      report: "ablation",
    },
    { out: at("ablation") },
    work,
  );
  expect(ablation.cells).toMatchObject([
    { planner: "last-first", strategy: "weighted", measure: "cosine", removed: 1 },
    { planner: "last-first", strategy: "drop", measure: "cosine", removed: 1 },
  ]);
  expect(await readdir(at("ablation"))).toEqual(
    expect.arrayContaining(["ablation.csv", "ablation.md", "ablation.json", "manifest.json", "report.html"]),
  );
  const again = await runRecipe(at("ablation", "manifest.json"), { out: at("again-ablation") }, work);
  expect([again.cells, again.tasks.made]).toEqual([ablation.cells, 0]);
  expect(await readFile(at("again-ablation", "ablation.json"), "utf8")).toBe(
    await readFile(at("ablation", "ablation.json"), "utf8"),
  );
  const { quality } = await runRecipe(
    {
      ...grid,
      methods: ["shortgpt"],
      rows: ["dropped", "dropped + repair", "merged", "merged + repair"],
      report: "quality",
    },
    { out: at("quality") },
  );
  const [{ merging }] = quality!.plans;
  const loss = (name: string) => {
    const row = quality!.rows.find(({ variant }) => variant === name)!;
    return Math.log(row.quality.perplexity!);
  };
  expect(merging![0].difference).toBeCloseTo(loss("merged + repair") - loss("dropped + repair"), 10);
});

it("every stage alone takes options, and plug-ins as they are", async () => {
  const activations = await capture({ model: checkpoint, calibration }, {});
  expect(activations.layers).toHaveLength(16);
  const { matrix, measure } = await compareLayers({ capture: activations, measure: always({ value: 0.25 }) });
  expect(measure).toMatchObject({ id: "always", options: { value: 0.25 } });
  expect([matrix[2][3], matrix[3][2]]).toEqual([0.25, 0.25]);
  const set = { set: ["similarity.value=0.75"] };
  expect((await compareLayers({ capture: activations, measure: always as never }, set)).matrix[0][5]).toBe(
    0.75,
  );
  const found = await plan({ model: checkpoint, layers: 15, planner: "reverse" });
  expect(found.plan.groups).toHaveLength(15);
  await expect(plan({ model: checkpoint, layers: 15, planner: "revers" })).rejects.toMatchObject({
    code: "PLUGIN_UNKNOWN",
  });
});
