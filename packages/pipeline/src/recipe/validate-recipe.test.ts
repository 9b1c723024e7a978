import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkpoint, data } from "@layerfold/foldling";
import { afterAll, beforeAll, expect, it } from "vitest";
import { stringify } from "yaml";
import type { Recipe } from "./recipe-schema.js";
import { validateRecipe } from "./validate-recipe.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "validate-"));
});
afterAll(() => rm(folder, { recursive: true }));

const good: Recipe = {
  model: checkpoint,
  calibration: `${join(data, "calibration.jsonl")}[0:20]`,
  evaluate: { texts: [`${join(data, "validation.jsonl")}[0:5]`] },
  methods: ["mka", "layerfold"],
  layers: [15, 12],
};

async function validated(recipe: Partial<Recipe>, rules?: { out?: string }) {
  const file = join(folder, "recipe.yaml");
  await writeFile(file, stringify({ ...good, ...recipe }));
  return validateRecipe(file, rules);
}
const codes = async (recipe: Partial<Recipe>, rules?: { out?: string }) =>
  (await validated(recipe, rules)).problems.map(({ code }) => code);

it("finds nothing wrong with a good recipe, and counts its rows", async () => {
  expect(await validated({ output: join(folder, "out") })).toEqual({
    problems: [],
    plans: 4,
    rows: 8,
    notes: [],
  });
});

it("finds everything that can be known without running", async () => {
  expect(await codes({ layers: [16] })).toEqual(["LAYERS_OUT_OF_RANGE"]);
  expect(await codes({ options: { planner: { nothing: 1 } } })).toEqual(["OPTION_UNKNOWN"]);
  expect(await codes({ methods: ["mka", "mkaa"] })).toEqual(["PRESET_UNKNOWN"]);
  expect(await codes({ planners: ["./none.ts"] })).toEqual(["PLUGIN_MODULE"]);
  expect(await codes({ methods: ["shortgpt"], calibration: undefined })).toEqual(["CALIBRATION_MISSING"]);
  expect(await codes({ quantize: ["gptq-w5g7"] })).toHaveLength(1);
  expect(
    await codes({ calibration: { text: `${join(data, "calibration.jsonl")}[0:20]`, tokens: 3 } }),
  ).toEqual(["CALIBRATION_TOO_SMALL"]);
  expect(await codes({ calibration: { text: "self", pooling: "first" } })).toEqual(["POOLING_UNKNOWN"]);
  expect(await codes({ evaluate: good.calibration })).toEqual(["CALIBRATION_OVERLAPS"]);
  expect(await codes({ evaluate: { tasks: ["piqua:rows.jsonl"] } })).toEqual(["TASK_UNKNOWN"]);
  expect(await codes({ ratios: [0.06, 0.07], layers: undefined })).toEqual(["GRID_TWICE"]);
  await mkdir(join(folder, "mine"));
  await writeFile(join(folder, "mine", "thesis.tex"), "");
  expect(await codes({}, { out: join(folder, "mine") })).toEqual(["OUTPUT_EXISTS"]);
});

it("tells of several at once, of a model that is not there and of files beside it", async () => {
  const { problems, plans } = await validated({
    model: "nowhere",
    evaluate: { texts: ["none.txt"], questions: "none.jsonl" },
    methods: ["mkaa"],
  });
  expect(problems.map(({ code }) => code)).toEqual([
    "CHECKPOINT_MISSING",
    "FILE_MISSING",
    "FILE_MISSING",
    "PRESET_UNKNOWN",
  ]);
  expect(plans).toBeNull();
});

it("downloads nothing, and says what it could not look at", async () => {
  const cache = process.env.HF_HUB_CACHE;
  process.env.HF_HUB_CACHE = join(folder, "hub");
  try {
    const { problems, notes, plans } = await validated({ model: "hf:org/name" });
    expect([problems, plans]).toEqual([[], 4]);
    expect(notes).toEqual([expect.stringContaining("not downloaded")]);
  } finally {
    if (cache === undefined) delete process.env.HF_HUB_CACHE;
    else process.env.HF_HUB_CACHE = cache;
  }
});
