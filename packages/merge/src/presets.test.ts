import { join } from "node:path";
import { openCheckpoint } from "@layerfold/checkpoint";
import { type Evidence, firstOf, type Planner, type PluginFactory } from "@layerfold/core";
import { openDecoder, openRunner } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { expect, it } from "vitest";
import { drawnEvidence, each } from "./drawn-evidence.test.fixture.js";
import * as merge from "./index.js";
import { preset, presetIds, presets } from "./presets.js";
import { ctx, llama, opened, tokenBatches, withModel } from "./tiny-models.test.fixture.js";

/** Evidence in which every value is drawn, and every trial's. */
function drawnTrials(layerCount: number): Evidence {
  const rng = seededRng(12);
  const drawn = each(async () => rng.uniform());
  return {
    ...drawnEvidence(layerCount, 11),
    remeasure: each(async ({ groups }) => drawnEvidence(groups.length, 13).similarity!),
    evaluate: drawn,
    evaluateRepaired: drawn,
    evaluateFolded: drawn,
    evaluateDivergence: drawn,
    compareOutputs: drawn,
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
    const plan = await make("planner", planner)!.plan(drawnTrials(4), 3, ctx);
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
    const logits = await firstOf(decoder.logits(tokenBatches(1, 1, 12)));
    expect(logits.data.every(Number.isFinite)).toBe(true);
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
    const parts: [string, merge.PresetPart][] = [
      ["planner", planner],
      ["strategy", strategy],
    ];
    if (repair) {
      const tried = { ...repair, options: { ...repair.options, ...repair.trial } };
      parts.push(["repair", repair], ["repair", tried]);
    }
    for (const [kind, part] of parts) {
      const factory = factories.find((candidate) => candidate.kind === kind && candidate.id === part.id);
      expect(factory, `${kind} ${part.id}`).toBeDefined();
      expect(factory!.optionsSchema.safeParse(part.options ?? {}).success).toBe(true);
    }
  },
);

it("says where every method is published, but for our own", () => {
  expect(presets.filter(({ source }) => !source).map(({ id }) => id)).toEqual([
    "layerfold",
    "layerfold-learn",
    "layerfold-search",
  ]);
});

it("names the known methods when asked for another", () => {
  expect(() => preset("mkaa")).toThrow(
    expect.objectContaining({ code: "PRESET_UNKNOWN", message: expect.stringContaining("mka-last-first") }),
  );
});
