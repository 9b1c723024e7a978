import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { parsePooling } from "@layerfold/capture";
import { parseCalibration, readRecipe } from "@layerfold/pipeline";
import { stringify } from "yaml";
import { encode, encodeJson, type FuzzTarget } from "../target.js";

const grid = {
  model: "model",
  calibration: "a.txt:0.5,piqa:b.jsonl[2:8]:0.3,self:0.2",
  evaluate: "c.txt[100:200]",
  questions: "d.jsonl",
  window: 64,
  maxTokens: 1000,
  calibrationTokens: 500,
  selfTemperature: 0.8,
  pooling: "every:4",
  measures: ["npib", "cosine"],
  embeddings: { npib: "diffusion-map" },
  planners: ["best-adjacent-pair"],
  strategies: ["weighted", "task-arithmetic"],
  repairs: ["none"],
  layers: [2, 3],
};

/** An ablation's recipe, and the small languages that its fields hold. */
export const recipe: FuzzTarget = {
  id: "recipe",
  starts: async () => [
    new Map([["recipe.yaml", encodeJson(grid)]]),
    new Map([["recipe.yml", encode(stringify(grid))]]),
  ],
  async read(folder) {
    const [name] = await readdir(folder);
    const { calibration, pooling } = await readRecipe(join(folder, name));
    parseCalibration(calibration);
    parsePooling(pooling);
  },
};
