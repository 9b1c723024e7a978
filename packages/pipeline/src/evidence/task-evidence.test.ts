import { join } from "node:path";
import { openCheckpoint, type TokenSequence } from "@layerfold/checkpoint";
import {
  contiguousData,
  dropPlan,
  type Evidence,
  firstOf,
  type MergePlan,
  type RemeasuredLayers,
  tokenBatch,
} from "@layerfold/core";
import { data } from "@layerfold/foldling";
import { openDecoder } from "@layerfold/graph";
import { componentFold, drop, weighted } from "@layerfold/merge";
import { cosine } from "@layerfold/similarity";
import { openFolderStore } from "@layerfold/tasks";
import { writeTinyLlama } from "@layerfold/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readAnswers, readCalibration } from "../calibration/read-calibration.js";
import { openFoldling } from "../foldling.test.fixture.js";
import { fileFingerprint } from "../manifest.js";
import { referenceOf } from "../plugin-reference.js";
import { createRun } from "../run.js";
import { makeComparison } from "../stages/similarity.js";
import { type TaskRunner, taskRunner } from "../task-runner.js";
import { givenModel } from "../tasks/stored-model.js";
import { type EvidenceSources, taskEvidence } from "./task-evidence.js";

/** What is asked of no strategy, repair or comparison. */
const plain = {
  strategy: null,
  repair: null,
  comparison: null,
  pooling: null,
  recall_weight: 0,
  answer_weight: 0,
  seed: 0,
};
const evidenceOf = (sources: EvidenceSources, tasks: TaskRunner) => taskEvidence(sources, tasks);

it("a plan's loss: the text's mean per token, and what is weighed beside it", async () => {
  const { checkpoint, tokenizer, calibrated, model, run, tasks, close } = await openFoldling();
  const decoder = await openDecoder(checkpoint);
  try {
    const calibration = await readCalibration(`${join(data, "calibration.jsonl")}[0:6]`, calibrated, {}, run);
    const answers = await readAnswers(
      `${join(data, "questions-dev.jsonl")}[0:4]`,
      { tokenizer, context: 512 },
      { questionWeight: 0.5 },
      run,
    );

    const mean = (losses: readonly number[]) => losses.reduce((a, b) => a + b, 0) / losses.length;
    const lossesOf = async ({ ids, scoredFrom }: TokenSequence) => {
      const scores = await firstOf(decoder.tokenLogProbabilities([tokenBatch([ids])]));
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

    const dense = dropPlan(16, [...Array(16).keys()]);
    const lossOf = async (weighs: boolean, recall: number) => {
      const { evaluate } = evidenceOf(
        {
          architecture: checkpoint.architecture,
          model,
          text: calibration.sequences,
          ...(weighs && { answers: answers.sequences }),
          planningTokens: 16_384,
          conditions: { ...plain, recall_weight: recall, answer_weight: answers.weight },
        },
        tasks,
      );
      return (await evaluate!([dense]))[0];
    };
    expect(mean(recalled)).toBeLessThan(mean(all) - 0.1);
    expect(await lossOf(false, 0)).toBeCloseTo(mean(all), 5);
    expect(await lossOf(false, 2)).toBeCloseTo(mean(all) + 2 * mean(recalled), 5);
    expect(await lossOf(true, 0)).toBeCloseTo(mean(all) + 0.5 * mean(answered), 5);
    expect(await lossOf(true, 2)).toBeCloseTo(mean(all) + 0.5 * mean(answered) + 2 * mean(recalled), 5);
  } finally {
    await decoder.close();
    await close();
  }
});

it("a group folded alone costs what the plan costs that folds nothing else", async () => {
  const { checkpoint, calibrated, model, run, tasks, close } = await openFoldling();
  try {
    const texts = `${join(data, "calibration.jsonl")}[0:24]`;
    const { sequences: text } = await readCalibration(texts, calibrated, {}, run);
    const strategy = referenceOf(drop());
    const repair = referenceOf(componentFold({ heads: "joint", recallHeads: 1, refitSingles: false }));
    const evidence = evidenceOf(
      {
        architecture: checkpoint.architecture,
        model,
        text,
        planningTokens: 16_384,
        conditions: { ...plain, strategy, repair },
      },
      tasks,
    );
    const kept = [...Array(16).keys()].filter((layer) => layer !== 10);
    const [dense, alone] = await evidence.evaluateFolded!([[], [9, 10]]);
    const [repaired] = await evidence.evaluateRepaired!([dropPlan(16, kept)]);
    expect(alone).toBeGreaterThan(dense);
    expect(alone).toBeCloseTo(repaired, 6);
  } finally {
    await close();
  }
});

describe("asked in parallel", () => {
  let opened: Awaited<ReturnType<typeof openTiny>>;
  beforeAll(async () => {
    opened = await openTiny();
  });
  afterAll(() => opened.close());

  /** A random model of five layers and a random text, since figures need mean nothing here. */
  async function openTiny() {
    const found = await openFoldling();
    const directory = join(found.folder, "tiny");
    await writeTinyLlama(directory, { layerCount: 5 });
    const model = givenModel(directory, await fileFingerprint(directory));
    const checkpoint = await openCheckpoint(directory);
    const rng = createRun({ seed: 7 }).ctx.rng;
    const text = Array.from({ length: 9 }, (_, i) => ({
      ids: Int32Array.from({ length: 12 + i }, () => rng.integer(64)),
      scoredFrom: 1,
    }));
    const answers = text.slice(0, 2).map(({ ids }) => ({ ids, scoredFrom: ids.length - 1 }));
    const comparison = await makeComparison("cosine", undefined, found.run);
    const sources: EvidenceSources = {
      architecture: checkpoint.architecture,
      model,
      text,
      answers,
      planningTokens: 80,
      conditions: {
        ...plain,
        strategy: referenceOf(weighted()),
        repair: referenceOf(componentFold()),
        comparison: { measure: referenceOf(cosine()), embedding: referenceOf(comparison.embedding) },
        pooling: "all",
        recall_weight: 0.5,
        answer_weight: 2,
      },
    };
    return {
      sources,
      folder: found.folder,
      async close() {
        await checkpoint.close();
        await found.close();
      },
    };
  }

  /** Four layers of five, each another one gone; and pairs folded. */
  const plans: readonly MergePlan[] = [
    ...[1, 2, 3, 4].map((gone) =>
      dropPlan(
        5,
        [0, 1, 2, 3, 4].filter((layer) => layer !== gone),
      ),
    ),
    { version: 1, num_hidden_layers: 5, groups: [{ layers: [0] }, { layers: [1, 2] }, { layers: [3, 4] }] },
  ];
  /** All that each plan leaves, and then some of what one leaves. */
  const remeasured: readonly RemeasuredLayers[] = [
    ...plans.map((plan) => ({ plan, groups: [...plan.groups.keys()] })),
    { plan: plans[1], groups: [0, 1] },
    { plan: plans[0], groups: [1, 3] },
  ];
  const groups = [[], [3, 4], [1, 2], [2, 3], [1, 2, 3]];

  /** Asks everything, a list at a time or one at a time, in this order. */
  const questions = (evidence: Evidence): readonly (() => Promise<unknown>)[] => {
    const each = <A, B>(ask: (asked: readonly A[]) => Promise<readonly B[]>, all: readonly A[]) =>
      all.map((one) => async () => (await ask([one]))[0]);
    const numbers = async (asked: readonly RemeasuredLayers[]) =>
      (await evidence.remeasure!(asked)).map((matrix) => Array.from(contiguousData(matrix)));
    return [
      ...each(evidence.evaluate!, plans),
      ...each(evidence.evaluateDivergence!, plans),
      ...each(evidence.evaluateRepaired!, plans),
      ...each(evidence.evaluateFolded!, groups),
      ...each(evidence.compareOutputs!, plans),
      ...each(numbers, remeasured),
    ];
  };
  let sequential: unknown[];
  const inStore = async (name: string) => {
    const run = createRun();
    const tasks = taskRunner(await openFolderStore(join(opened.folder, name)), run.executor, run.ctx);
    return { tasks, evidence: evidenceOf(opened.sources, tasks), close: () => run.executor.close!() };
  };
  beforeAll(async () => {
    const { evidence, close } = await inStore("sequential");
    sequential = [];
    for (const question of questions(evidence)) sequential.push(await question());
    await close();
  });

  it("layers of a merged model are compared alike, whichever others are", () => {
    const matrices = sequential.slice(-remeasured.length) as number[][];
    const [all] = matrices;
    expect(matrices[remeasured.length - 1]).toEqual([all[5], all[7], all[13], all[15]]);
    expect(matrices[plans.length]).toEqual([0, 1, 4, 5].map((at) => matrices[1][at]));
  });

  it("evidence of every kind is the sequential answers bit for bit, in a fresh store", async () => {
    const { evidence, tasks, close } = await inStore("parallel");
    expect(await Promise.all(questions(evidence).map((question) => question()))).toEqual(sequential);
    expect(tasks.counts.found).toBe(0);
    await close();
    // What is asked differs, so no two answers are alike by mere luck of a constant.
    expect(new Set(sequential.map((answer) => JSON.stringify(answer))).size).toBeGreaterThan(20);
  });

  it("the same backwards, in lists, and in a store that holds some of the answers", async () => {
    const part = await inStore("part");
    for (const question of questions(part.evidence).filter((_, i) => i % 3 === 0)) await question();
    await part.close();
    const { evidence, tasks, close } = await inStore("part");
    const backwards = [...questions(evidence)].reverse();
    const answers = await Promise.all(backwards.map((question) => question()));
    expect(answers.reverse()).toEqual(sequential);
    expect(tasks.counts.found).toBeGreaterThan(5);
    const [losses, divergences, repaired, folded, outputs, matrices] = await Promise.all([
      evidence.evaluate!(plans),
      evidence.evaluateDivergence!(plans),
      evidence.evaluateRepaired!(plans),
      evidence.evaluateFolded!(groups),
      evidence.compareOutputs!(plans),
      evidence.remeasure!(remeasured),
    ]);
    const flat = matrices.map((matrix) => Array.from(contiguousData(matrix)));
    expect([losses, divergences, repaired, folded, outputs, flat].flat()).toEqual(
      sequential.flatMap((x) => [x]),
    );
    await close();
  });
});
