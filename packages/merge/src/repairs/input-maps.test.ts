import {
  type BlockView,
  type Hidden,
  type ModelRunner,
  type Repair,
  type Tap,
  tensor,
} from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { describe, expect, it } from "vitest";
import { ctx, families, llama, withModel } from "../tiny-models.test.fixture.js";
import { componentFold } from "./component-fold.js";
import type { CalibratedGroup, GroupBatch } from "./front-to-back.js";
import { mapHeadInputs, withInputMaps, withNeuronInputMaps } from "./input-maps.js";
import { reconstruct } from "./reconstruct.js";
import { batches, middlePair, relativeDifference, repairedBlocks } from "./repaired-blocks.test.fixture.js";

const tight = { inputMapRidge: 1e-6 };

/** Layer 1 alone, the folded stream being the dense one behind `changed`. */
async function layerOne(model: ModelRunner, changed: (dense: Hidden) => Hidden): Promise<CalibratedGroup> {
  const streams: GroupBatch[] = [];
  for (const batch of batches) {
    const { hidden: dense } = await model.runBlock(0, await model.embed(batch));
    const { hidden: target } = await model.runBlock(1, dense);
    streams.push({ input: changed(dense), dense: async () => dense, target, heldOut: false });
  }
  return {
    index: 0,
    layers: [1],
    sinceFold: Number.POSITIVE_INFINITY,
    anchor: 1,
    batchCount: streams.length,
    async *batches() {
      yield* streams;
    },
  };
}

async function tapped(model: ModelRunner, block: BlockView, input: Hidden, tap: Tap) {
  const { taps } = await model.runBlock(1, input, { replace: block, taps: [tap] });
  return taps.get(tap)!.data;
}

describe.each(Object.keys(families))("%s", (name) => {
  it("adds what it did, where the folded stream is the dense one", async () => {
    await withModel(families[name], async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const group = await layerOne(model, (dense) => dense);
      for (const reads of [withInputMaps, withNeuronInputMaps]) {
        const block = await reads(model, group, await model.block(1), tight, ctx);
        for await (const { input, target } of group.batches()) {
          const { hidden } = await model.runBlock(1, input, { replace: block });
          expect(relativeDifference(hidden.states.data, target.states.data)).toBeLessThan(1e-4);
        }
      }
      await model.close();
    });
  });

  it("gives its heads what they read, where the folded stream has its channels in another order", async () => {
    await withModel(families[name], async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const dense = await model.block(1);
      const order = seededRng(5).permutation(model.hiddenSize);
      // A norm of gain 1 gives permuted channels permuted, so that a linear map undoes it.
      const group = await layerOne(model, ({ states, lengths }) => {
        const width = order.length;
        const data = states.data.map((_, i) => states.data[i - (i % width) + order[i % width]]);
        return { states: tensor(data, states.shape), lengths };
      });
      const [block] = await mapHeadInputs(model, group, dense, [dense], tight, ctx);
      for await (const { input, dense: stream } of group.batches()) {
        const wanted = await tapped(model, dense, await stream(), "attention.heads");
        expect(relativeDifference(await tapped(model, block, input, "attention.heads"), wanted)).toBeLessThan(
          1e-3,
        );
        expect(
          relativeDifference(await tapped(model, dense, input, "attention.heads"), wanted),
        ).toBeGreaterThan(0.1);
      }
      await model.close();
    });
  });
});

describe("a fold whose heads and neurons read what they would in the dense model is nearer to it", () => {
  const errors = async (repair: Repair) => {
    let result: number[] = [];
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      result = (await repairedBlocks(repair, model, middlePair)).map(({ error }) => error!.after);
      await model.close();
    });
    return result;
  };

  it("component-fold", async () => {
    const [, plainFold, plainBehind] = await errors(componentFold({}));
    const [, fold, behind] = await errors(componentFold({ inputMapRidge: 1e-2 }));
    expect(fold).toBeLessThan(plainFold);
    expect(behind).toBeLessThan(plainBehind);
  });

  // The first block that folds stands in its own layer's place, on a stream that nothing has changed yet.
  it("reconstruct, behind the first fold", async () => {
    const [, , plain] = await errors(reconstruct({}));
    const [, , reading] = await errors(reconstruct({ inputMapRidge: 1e-2 }));
    expect(reading).toBeLessThan(plain);
  });
});
