import { join } from "node:path";
import { parsePooling } from "@layerfold/capture";
import { openCheckpoint, openTokenizer, type TokenSequence } from "@layerfold/checkpoint";
import { dropPlan, type Planner, tokenBatch } from "@layerfold/core";
import { openDecoder } from "@layerfold/graph";
import { bestPartition, componentFold, drop, greedyPerplexity } from "@layerfold/merge";
import { expect, it } from "vitest";
import { foldling } from "../../../cli/src/foldling.js";
import { readAnswers, readCalibration } from "../calibration/read-calibration.js";
import { createRun } from "../run.js";
import { makeComparison } from "../stages/similarity.js";
import { gatherEvidence } from "./gather-evidence.js";

it("a plan's loss: the text's mean per token, and what is weighed beside it", async () => {
  const { checkpoint: folder, data } = foldling();
  const checkpoint = await openCheckpoint(folder);
  const run = createRun({ quiet: true });
  const decoder = await openDecoder(checkpoint);
  try {
    const tokenizer = await openTokenizer(folder);
    const texts = `${join(data, "calibration.jsonl")}[0:6]`;
    const calibration = await readCalibration(texts, { checkpoint, tokenizer }, {}, run);
    const answers = await readAnswers(
      `${join(data, "questions-dev.jsonl")}[0:4]`,
      { tokenizer, context: 512 },
      { questionWeight: 0.5 },
      run,
    );

    const mean = (losses: readonly number[]) => losses.reduce((a, b) => a + b, 0) / losses.length;
    const lossesOf = async ({ ids, scoredFrom }: TokenSequence) => {
      const scores = await decoder.tokenLogProbabilities(tokenBatch([ids]));
      return Array.from(ids, (_, i) => -scores[i - 1]).slice(scoredFrom);
    };
    const all: number[] = [];
    const recalled: number[] = [];
    for (const sequence of calibration.sequences) {
      const losses = await lossesOf(sequence);
      all.push(...losses);
      const ids = Array.from(sequence.ids);
      recalled.push(...losses.filter((_, i) => ids.indexOf(ids[i + 1]) < i + 1));
    }
    const answered: number[] = [];
    for (const sequence of answers.sequences) answered.push(...(await lossesOf(sequence)));

    const comparison = await makeComparison("npib", undefined, run);
    const dense = dropPlan(16, [...Array(16).keys()]);
    const lossOf = async (beside: { answers?: typeof answers; recallWeight?: number }) => {
      const sources = { checkpoint, comparison, calibration, pooling: parsePooling("last"), ...beside };
      const { evidence, close } = await gatherEvidence(greedyPerplexity(), sources, run);
      return evidence.evaluate!([dense])
        .then(([loss]) => loss)
        .finally(close);
    };
    expect(mean(recalled)).toBeLessThan(mean(all) - 0.1);
    expect(await lossOf({})).toBeCloseTo(mean(all), 5);
    expect(await lossOf({ recallWeight: 2 })).toBeCloseTo(mean(all) + 2 * mean(recalled), 5);
    expect(await lossOf({ answers })).toBeCloseTo(mean(all) + 0.5 * mean(answered), 5);
    expect(await lossOf({ answers, recallWeight: 2 })).toBeCloseTo(
      mean(all) + 0.5 * mean(answered) + 2 * mean(recalled),
      5,
    );
  } finally {
    await decoder.close();
    await checkpoint.close();
  }
});

it("a group folded alone costs what the plan costs that folds nothing else", async () => {
  const { checkpoint: folder, data } = foldling();
  const checkpoint = await openCheckpoint(folder);
  const run = createRun({ quiet: true });
  try {
    const tokenizer = await openTokenizer(folder);
    const texts = `${join(data, "calibration.jsonl")}[0:24]`;
    const sources = {
      checkpoint,
      comparison: await makeComparison("npib", undefined, run),
      calibration: await readCalibration(texts, { checkpoint, tokenizer }, {}, run),
      pooling: parsePooling("last"),
      fold: {
        strategy: drop(),
        repair: componentFold({ heads: "joint", recallHeads: 1, refitSingles: false }),
      },
    };
    const judge: Planner = { ...bestPartition(), needs: ["evaluateFolded", "evaluateRepaired"] };
    const { evidence, close } = await gatherEvidence(judge, sources, run);
    const kept = [...Array(16).keys()].filter((layer) => layer !== 10);
    const plan = dropPlan(16, kept);
    // Several questions at once are answered as one after the other.
    const [[dense, alone], [repaired], [later, again]] = await Promise.all([
      evidence.evaluateFolded!([[], [9, 10]]),
      evidence.evaluateRepaired!([plan]),
      evidence.evaluateFolded!([
        [11, 12],
        [9, 10],
      ]),
    ]);
    expect(again).toBe(alone);
    expect(await evidence.evaluateFolded!([[11, 12]])).toEqual([later]);
    expect(alone).toBeGreaterThan(dense);
    expect(alone).toBeCloseTo(repaired, 6);
    await close();
  } finally {
    await checkpoint.close();
  }
});
