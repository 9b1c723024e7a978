import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { parsePooling } from "@layerfold/capture";
import { parseCalibration, readAblationRecipe, readRecipe } from "@layerfold/pipeline";
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

const whole = {
  model: "model",
  calibration: { text: ["a.txt:0.5", "self:0.5"], tokens: "auto", pooling: "mean" },
  evaluate: { texts: "c.txt", tasks: ["piqa:b.jsonl[2:8]"], begin_token: "never" },
  methods: [
    "mka",
    { method: "sleb", strategy: "slerp", repair: { id: "reconstruct", options: { ridge: 0.1 } } },
  ],
  ratios: [0.25],
  rows: ["fold", "merged + repair"],
  options: { planner: { firstLayer: 0 } },
};

/** An ablation's recipe and one of `layerfold run`, and the small languages that their fields hold. */
export const recipe: FuzzTarget = {
  id: "recipe",
  starts: async () => [
    new Map([["recipe.yaml", encodeJson(grid)]]),
    new Map([["recipe.yml", encode(stringify(grid))]]),
    new Map([["run.yml", encode(stringify(whole))]]),
    new Map([["run.json", encodeJson({ layerfold: "0.1.0", command: "run", recipe: whole })]]),
  ],
  async read(folder) {
    const [name] = await readdir(folder);
    const read = name.startsWith("run") ? readRecipe : readAblationRecipe;
    const { recipe } = await read(join(folder, name));
    const { calibration } = recipe;
    if (typeof calibration !== "object" || Array.isArray(calibration)) return;
    parseCalibration([calibration.text].flat().join(","));
    if (calibration.pooling !== undefined) parsePooling(calibration.pooling);
  },
};
