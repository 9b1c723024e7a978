import { join } from "node:path";
import { openCheckpoint } from "@layerfold/checkpoint";
import { type Evidence, type Planner, type PluginFactory, tensor } from "@layerfold/core";
import { openDecoder, openRunner } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { expect, it } from "vitest";
import * as merge from "./index.js";
import { preset, presetIds, presets } from "./presets.js";
import { ctx, llama, opened, tokenBatches, withModel } from "./tiny-models.test.fixture.js";

/** Evidence in which every value is drawn. */
function drawnEvidence(layerCount: number): Evidence {
  const rng = seededRng(11);
  const symmetric = (size: number, diagonal: number) => {
    const values = new Float64Array(size * size).fill(diagonal);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < i; j++) values[i * size + j] = values[j * size + i] = rng.uniform();
    }
    return tensor(values, [size, size]);
  };
  return {
    layerCount,
    similarity: symmetric(layerCount, 1),
    tokenStatistics: {
      layerCount,
      tokenCount: 100,
      cosine: symmetric(layerCount + 1, 1),
      angle: symmetric(layerCount + 1, 0),
      norm: new Float64Array(layerCount + 1).fill(1),
    },
    compatible: () => true,
    remeasure: async (plan) => symmetric(plan.groups.length, 1),
    evaluate: async () => rng.uniform(),
    evaluateRepaired: async () => rng.uniform(),
    evaluateFolded: async () => rng.uniform(),
    evaluateDivergence: async () => rng.uniform(),
    compareOutputs: async () => rng.uniform(),
  };
}

it.each(presetIds)("%s folds a model that still runs", async (id) => {
  const { planner, strategy, repair } = preset(id);
  const make = (kind: string, part: merge.PresetPart | undefined) => {
    const all = Object.values(merge) as PluginFactory<Planner>[];
    const factory = all.find((candidate) => candidate.kind === kind && candidate.id === part?.id);
    return factory?.(part?.options as never);
  };
  await withModel(llama, async (checkpoint, folder) => {
    const runner = await openRunner(checkpoint);
    const out = join(folder, "out");
    const plan = await make("planner", planner)!.plan(drawnEvidence(4), 3, ctx);
    const calibration = opened(tokenBatches(4, 2, 20));
    const request = {
      strategy: make("strategy", strategy),
      repair: make("repair", repair),
      runner,
      calibration,
    };
    const { layerRatio } = await merge.foldCheckpoint(checkpoint, plan, { ...request, out } as never, ctx);
    expect(layerRatio).toBe(0.25);
    const folded = await openCheckpoint(out);
    const decoder = await openDecoder(folded);
    const { logits } = await decoder.run(tokenBatches(1, 1, 12)[0], { logits: true });
    expect(logits!.data.every(Number.isFinite)).toBe(true);
    await decoder.close();
    await folded.close();
    await runner.close();
  });
});

it.each(presetIds)(
  "%s names planners, strategies and repairs that are here, with options that they know",
  (id) => {
    const { planner, strategy, repair } = preset(id);
    const factories = Object.values(merge).filter(
      (value) => typeof value === "function" && "optionsSchema" in value,
    );
    for (const [kind, part] of Object.entries({ planner, strategy, ...(repair && { repair }) })) {
      const factory = factories.find((candidate) => candidate.kind === kind && candidate.id === part.id);
      expect(factory, `${kind} ${part.id}`).toBeDefined();
      expect(factory!.optionsSchema.safeParse(part.options ?? {}).success).toBe(true);
    }
  },
);

it("says where every method is published, but for our own", () => {
  expect(presets.filter(({ source }) => !source).map(({ id }) => id)).toEqual([
    "layerfold",
    "layerfold-search",
  ]);
});

it("names the known methods when asked for another", () => {
  expect(() => preset("mkaa")).toThrow(
    expect.objectContaining({ code: "PRESET_UNKNOWN", message: expect.stringContaining("mka-last-first") }),
  );
});
