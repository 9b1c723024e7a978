import { preset } from "@layerfold/merge";
import { expect, it } from "vitest";
import { presetParts, trialFacts, withParts } from "./preset-parts.js";
import { createRun } from "./run.js";

const partsOf = (of: Parameters<typeof presetParts>[0], set: readonly string[] = []) =>
  presetParts(of, createRun({ set }));

it("plans are tried with the repair's options, the preset's for trials, and those set for trials, the last first", async () => {
  const learn = preset("layerfold-learn");
  const { repair, trial } = await partsOf(learn);
  expect(repair!.options).toMatchObject({ heads: "joint", recallHeads: 2, refineEpochs: 3 });
  expect(trial!.options).toMatchObject({ heads: "joint", recallHeads: 0, refineEpochs: 0 });
  expect(trialFacts(trial)).toEqual([{ kind: "trial", id: "component-fold", options: trial!.options }]);

  const set = await partsOf(learn, ["repair.heads=sum", "repair.refineEpochs=5", "trial.recallHeads=1"]);
  expect(set.repair!.options).toMatchObject({ heads: "sum", recallHeads: 2, refineEpochs: 5 });
  expect(set.trial!.options).toMatchObject({ heads: "sum", recallHeads: 1, refineEpochs: 0 });
});

it("there is no trial of its own where nothing differs, the planner looks at no repair, or another repair was named", async () => {
  expect((await partsOf(preset("layerfold"))).trial).toBeUndefined();
  expect((await partsOf(preset("layerfold"), ["trial.heads=none"])).trial).toBeDefined();
  const learn = preset("layerfold-learn");
  expect((await partsOf(withParts(learn, { planner: "reverse" }))).trial).toBeUndefined();
  expect((await partsOf(withParts(learn, { repair: "reconstruct" }))).trial).toBeUndefined();
  expect((await partsOf(withParts(learn, { repair: "none" }))).trial).toBeUndefined();
});

it("refuses options for trials that the planner does not make", async () => {
  const run = createRun({ set: ["trial.heads=none"] });
  await presetParts(preset("sleb"), run);
  expect(() => run.settings.assertUsed()).toThrow(expect.objectContaining({ code: "OPTION_UNKNOWN" }));
});
