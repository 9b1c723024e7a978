import { join } from "node:path";
import { dropPlan } from "@layerfold/core";
import { data } from "@layerfold/foldling";
import { channelScale, drop } from "@layerfold/merge";
import { expect, it } from "vitest";
import { openFoldling } from "../foldling.test.fixture.js";
import { describeTrials, sizedCalibration } from "./calibration-size.js";
import { readCalibration } from "./read-calibration.js";

it("doubles the tokens until held-out text gains too little or the text ends", async () => {
  const { model, calibrated, tasks, run, close } = await openFoldling();
  try {
    const texts = `${join(data, "calibration.jsonl")}[0:16]`;
    const all = await readCalibration(texts, calibrated, {}, run);
    const plan = dropPlan(
      16,
      Array.from({ length: 15 }, (_, layer) => layer),
    );
    const fold = { plan, strategy: drop(), repair: channelScale() };
    const size = (margin: number) =>
      sizedCalibration(model, fold, all, { tasks, seed: run.seed }, { fewestTokens: 256, margin });
    // No gain is enough: it stops after the second trial.
    const short = await size(100);
    expect(short.trials).toHaveLength(2);
    const best = short.trials[0].loss <= short.trials[1].loss ? short.trials[0] : short.trials[1];
    // Whole documents of at most 512 tokens.
    expect(Math.abs(short.calibration.tokenCount - best.tokens)).toBeLessThan(512);
    expect(short.calibration.sequences.every((sequence) => all.sequences.includes(sequence))).toBe(true);
    expect(describeTrials(short)).toContain(`(${short.trials[1].tokens})`);
    // Every gain, and every loss, is enough: it goes on to the text's end, of which an eighth is held out.
    const long = await size(-100);
    const heldOut = all.sequences.filter((_, i) => i % 8 === 0).reduce((sum, { ids }) => sum + ids.length, 0);
    expect(long.trials.at(-1)?.tokens).toBe(all.tokenCount - heldOut);
    expect(long.trials.slice(0, 2)).toEqual(short.trials);
  } finally {
    await close();
  }
});
