import { expect, it } from "vitest";
import type { Recipe } from "../recipe/recipe-schema.js";
import { createRun } from "../run.js";
import { gridCells } from "./cells.js";

const cellsOf = (recipe: Omit<Recipe, "model">, layerCount = 16) =>
  gridCells({ model: "m", ...recipe }, layerCount, createRun(), (path) => path.join("."));
const named = async (recipe: Omit<Recipe, "model">, layerCount?: number) =>
  (await cellsOf(recipe, layerCount)).groups.map((group) =>
    group.map(({ method, target }) => `${method.id} ${target}`),
  );

it("methods are a group each, with every combination of the lists beside them", async () => {
  expect(
    await named({
      methods: [
        "mka",
        { method: "sleb", strategy: "slerp", repair: "reconstruct" },
        { name: "own", planner: "random" },
      ],
      layers: [15, 12],
    }),
  ).toEqual([
    ["mka 15", "mka 12"],
    ["sleb+slerp+reconstruct 15", "sleb+slerp+reconstruct 12"],
    ["own 15", "own 12"],
  ]);
  expect(
    await named({ methods: ["layerfold"], planners: ["random"], repairs: ["none", "linear"], layers: [15] }),
  ).toEqual([["layerfold+random+none 15"], ["layerfold+random+linear 15"]]);
});

it("of axes every combination is a cell, but those that would repeat one, or judge nothing", async () => {
  const { groups, combinations } = await cellsOf({
    planners: ["last-first", "lowest-influence", "best-partition"],
    measures: ["cosine", { id: "npib", embedding: "pca" }],
    repairs: ["none", "linear"],
    layers: [15],
  });
  expect(combinations).toBe(12);
  expect(groups.flat().map(({ method }) => method.id)).toEqual([
    "last-first+weighted+cosine",
    "last-first+weighted+linear+cosine",
    // Looks at no measure.
    "lowest-influence+weighted",
    "lowest-influence+weighted+linear",
    // Judges folds after repair.
    "best-partition+weighted+linear",
    "last-first+weighted+npib+pca",
    "last-first+weighted+linear+npib+pca",
  ]);
  await expect(
    cellsOf({ planners: ["best-partition"], repairs: ["none"], layers: [15] }),
  ).rejects.toMatchObject({ code: "GRID_EMPTY", where: "repairs" });
});

it("ratios are shares of the layers that go, at least one and not all", async () => {
  // 0.4375 × 16 = 7; 0.4333 × 30 = 13.
  expect(await named({ methods: ["mka"], ratios: [0.01, 0.4375, 0.99] })).toEqual([
    ["mka 15", "mka 9", "mka 1"],
  ]);
  expect(await named({ methods: ["mka"], ratios: [0.4333] }, 30)).toEqual([["mka 17"]]);
  await expect(cellsOf({ methods: ["mka"], ratios: [0.06, 0.07] })).rejects.toMatchObject({
    code: "GRID_TWICE",
    got: "mka, 15 layers",
  });
});

it("says where layers, presets and plug-ins are wrong", async () => {
  const wrong = (recipe: Omit<Recipe, "model">) => expect(cellsOf(recipe)).rejects;
  await wrong({ methods: ["mka"], layers: [15, 16] }).toMatchObject({
    code: "LAYERS_OUT_OF_RANGE",
    where: "layers.1",
  });
  await wrong({ methods: ["mka", "mkaa"], layers: [15] }).toMatchObject({
    code: "PRESET_UNKNOWN",
    where: "methods.1",
  });
  await wrong({ methods: [{ method: "mka", planner: "lst-first" }], layers: [15] }).toMatchObject({
    code: "PLUGIN_UNKNOWN",
    where: "methods.0",
  });
});
