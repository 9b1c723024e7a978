import { join } from "node:path";
import { dropPlan } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { plannerFromFile, readPlan } from "@layerfold/pipeline";
import { encodeJson, type FuzzTarget } from "../target.js";

const mixed = {
  version: 1,
  num_hidden_layers: 6,
  groups: [
    { layers: [0], without: ["attention", "mlp"] },
    { layers: [1, 2, 3], weights: [0.5, 0.25, 0.25] },
    { layers: [4, 5], weights: [1, 0] },
  ],
};

export const plan: FuzzTarget = {
  id: "plan",
  starts: async () =>
    [mixed, dropPlan(4, [0, 2])].map((value) => new Map([["plan.json", encodeJson(value)]])),
  async read(folder) {
    const file = join(folder, "plan.json");
    const { num_hidden_layers: layerCount, groups } = await readPlan(file);
    const planner = await plannerFromFile(file);
    await planner.plan({ layerCount, compatible: () => true }, groups.length, {
      rng: seededRng(0),
      engine: portableEngine(),
    });
  },
};
