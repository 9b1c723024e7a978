import { join } from "node:path";
import { openCheckpoint, openTokenizer } from "@layerfold/checkpoint";
import { dropPlan } from "@layerfold/core";
import { channelScale, drop } from "@layerfold/merge";
import { expect, it } from "vitest";
import { foldling } from "../../../cli/src/foldling.js";
import { createRun } from "../run.js";
import { describeTrials, sizedCalibration } from "./calibration-size.js";
import { readCalibration } from "./read-calibration.js";

it("doubles the tokens until held-out text gains too little or the text ends", async () => {
  const { checkpoint: folder, data } = foldling();
  const checkpoint = await openCheckpoint(folder);
  const run = createRun({ quiet: true });
  try {
    const tokenizer = await openTokenizer(folder);
    const all = await readCalibration(
      `${join(data, "calibration.jsonl")}[0:16]`,
      { checkpoint, tokenizer },
      {},
      run,
    );
    const plan = dropPlan(
      16,
      Array.from({ length: 15 }, (_, layer) => layer),
    );
    const fold = { strategy: drop(), repair: channelScale() };
    const size = (margin: number) =>
      sizedCalibration(checkpoint, plan, fold, all, run, { fewestTokens: 256, margin });
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
    await checkpoint.close();
  }
});
