import { readdirSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkpoint, data } from "@layerfold/foldling";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Recipe } from "../recipe/recipe-schema.js";
import { runRecipe } from "../stages/run-recipe.js";
import { variantNames } from "./variants.js";

let folder: string;
let out: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "quality-"));
  out = join(folder, "table");
});
afterAll(() => rm(folder, { recursive: true }));

it("carries a plan out in four ways, compares them by window, and goes on where it stopped", async () => {
  const recipe: Recipe = {
    model: checkpoint,
    methods: ["shortgpt"],
    ratios: [1 / 16],
    calibration: `${join(data, "calibration.jsonl")}[0:6]`,
    evaluate: [`${join(data, "validation.jsonl")}[0:4]`],
    rows: [...variantNames],
    report: "quality",
    output: out,
  };
  const { dense, rows, plans } = (await runRecipe(recipe)).quality!;
  expect(rows.map(({ variant }) => variant)).toEqual(variantNames);
  expect(
    rows.map(({ strategy, repair, merged_groups, own }) => [strategy, repair, merged_groups, own]),
  ).toEqual([
    ["drop", null, 0, true],
    ["drop", "reconstruct", 0, false],
    ["weighted", null, 1, false],
    ["weighted", "reconstruct", 1, false],
  ]);
  for (const { quality } of rows) {
    expect(quality.kl_to_dense).toBeGreaterThan(0);
    expect(quality.texts[0].window_losses).toHaveLength(4);
  }
  expect(dense.quality.kl_to_dense).toBeNull();
  const [{ difference, low, high }] = plans[0].merging!;
  const loss = (row: number) => Math.log(rows[row].quality.perplexity!);
  expect(difference).toBeCloseTo(loss(3) - loss(1), 10);
  expect(low).toBeLessThanOrEqual(difference);
  expect(high).toBeGreaterThanOrEqual(difference);
  expect(readdirSync(out).sort()).toEqual([".layerfold.json", "manifest.json", "quality.json", "quality.md"]);
  const table = readFileSync(join(out, "quality.md"), "utf8");
  expect(table).toContain("**dropped**");
  expect(table).toContain("New to it: validation.jsonl[0:4]");

  const { manifest } = JSON.parse(readFileSync(join(out, "quality.json"), "utf8"));
  expect(manifest.plugins).toMatchObject([{ id: "lowest-influence" }, { id: "drop" }, {}, {}]);

  const artefacts = join(`${out}.work`, "artefacts");
  const kept = () =>
    readdirSync(artefacts, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith("artefact.json"))
      .sort();
  const written = () => kept().map((name) => [name, statSync(join(artefacts, name)).mtimeMs]);
  // Folds go once they are measured; what is known of the four of them stays.
  const kinds = kept().map((name) => name.split("/")[0]);
  expect(kinds).not.toContain("fold");
  expect(kinds.filter((kind) => kind === "fold-facts")).toHaveLength(4);
  const before = written();
  const [[plan]] = before.filter(([name]) => `${name}`.startsWith("plan/"));
  await rm(join(artefacts, `${plan}`, ".."), { recursive: true });
  const again = await runRecipe(recipe);
  expect(again.quality!.rows).toEqual(rows);
  const unlike = (all: typeof before) => all.filter(([name]) => name !== plan);
  expect(unlike(written())).toEqual(unlike(before));
  expect(kept()).toContain(plan);
});
