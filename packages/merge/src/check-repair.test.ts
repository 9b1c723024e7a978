import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import { dropPlan, isLayerfoldError, type MergePlan, type Repair } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { describe, expect, it } from "vitest";
import { checkRepair, layerFacts } from "./check-repair.js";
import { compatibleLayers } from "./compatible-layers.js";
import { foldedBlocks } from "./folded-blocks.js";
import { channelScale } from "./repairs/channel-scale.js";
import { componentFold } from "./repairs/component-fold.js";
import { concatenate } from "./repairs/concatenate.js";
import { linear } from "./repairs/linear.js";
import { magnitude } from "./repairs/magnitude.js";
import { reconstruct } from "./repairs/reconstruct.js";
import { residualLinear } from "./repairs/residual-linear.js";
import { drop } from "./strategies/drop.js";
import { ctx, llama, opened, tokenBatches, withModel } from "./tiny-models.test.fixture.js";

const golden = fileURLToPath(new URL("../../graph/test/golden/", import.meta.url));
const batches = tokenBatches(2, 3, 12);

const repairs: Record<string, Repair> = {
  "component-fold": componentFold(),
  "component-fold, joint": componentFold({ heads: "joint" }),
  "component-fold, no heads": componentFold({ heads: "none" }),
  "component-fold that learns": componentFold({ refineEpochs: 1, refitSingles: false }),
  "component-fold with reads": componentFold({ heads: "none", inputMapRidge: 1 }),
  concatenate: concatenate(),
  "concatenate, no heads": concatenate({ heads: false }),
  reconstruct: reconstruct(),
  linear: linear(),
  "residual-linear": residualLinear(),
  "channel-scale": channelScale(),
  magnitude: magnitude(),
};

/** Whether the repair runs through. */
async function runs(checkpoint: Checkpoint, plan: MergePlan, repair: Repair): Promise<boolean> {
  const runner = await openRunner(checkpoint);
  try {
    const folded = foldedBlocks(checkpoint, plan, drop(), ctx, runner);
    for await (const _ of repair.fit(runner, plan, folded, opened(batches), ctx));
    return true;
  } catch (error) {
    if (!isLayerfoldError(error)) throw error;
    return false;
  } finally {
    await runner.close();
  }
}

// Norms on updates, on the stream and on queries; biases of norms that no map can take; experts; halves side by side; state spaces.
// The fold begins at layer 1, whose heads it takes apart, or at 0 where nothing would be left behind it to scale.
describe.each([
  ["architectures/llama", 1],
  ["architectures/gemma2", 1],
  ["architectures/olmo2", 1],
  ["architectures/stablelm", 1],
  ["architectures/falcon", 1],
  ["architectures/qwen3_moe", 1],
  ["architectures/jamba", 1],
  ["variants/opt-post-norm", 0],
  ["variants/gpt2-inverse-layer-scale", 1],
] as const)("%s", (name, first) => {
  it("what a repair refuses before it runs is what it cannot do", async () => {
    const checkpoint = await openCheckpoint(`${golden}${name}`);
    const facts = await layerFacts(checkpoint);
    const same = compatibleLayers(checkpoint.architecture, first, first + 1);
    const kept = facts.map(({ layer }) => layer).filter((layer) => layer !== first + 1);
    const plan = dropPlan(facts.length, kept);
    for (const [label, repair] of Object.entries(repairs)) {
      let said = true;
      try {
        checkRepair(repair, facts, plan.groups);
      } catch (error) {
        expect(error).toMatchObject({ code: "REPAIR_UNSUPPORTED" });
        said = false;
      }
      if (same || !said) expect(await runs(checkpoint, plan, repair), label).toBe(said);
    }
    await checkpoint.close();
  });
});

it("without a plan refuses what no plan could make work, and names what would", async () => {
  await withModel(llama, async (checkpoint) => {
    const facts = await layerFacts(checkpoint);
    const pair = (first: number) => ({
      ...componentFold(),
      refuses: (layers: readonly { layer: number }[]) =>
        layers.length > 1 && layers[0].layer !== first ? "no" : undefined,
    });
    // Layers 2 and 3 may fold; layers 0 and 1 alone are no reason to begin.
    expect(() => checkRepair(pair(2), facts)).not.toThrow();
    const others = [
      { flag: "--repair", value: "linear", repair: linear() },
      { flag: "--repair", value: "worse", repair: pair(0) },
      { flag: "--repair", value: "none" },
      { flag: "--method", value: "drop" },
    ];
    expect(() => checkRepair(pair(0), facts, undefined, others)).toThrow(
      expect.objectContaining({
        code: "REPAIR_UNSUPPORTED",
        wanted: "--repair linear | none, or --method drop",
        where: "layers 1 to 2 (full_attention+rope+mlp)",
      }),
    );
  });
});
