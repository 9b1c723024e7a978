import { type BlockView, contiguousData, type ModelRunner, tensor, tokenBatch } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { describe, expect, it } from "vitest";
import { ctx, families, llama, opened, runnerWithIdleLayer, withModel } from "../tiny-models.test.fixture.js";
import { specOf, withTensors } from "./block-linear.js";
import { componentFold } from "./component-fold.js";
import { attentionOf } from "./heads.js";
import { recallCosts } from "./recall.js";
import { batches, middlePair, repairedBlocks } from "./repaired-blocks.test.fixture.js";

/** Tokens 5 and 7 come again in the first row, 9 in the second, whose padding is no token. */
const text = tokenBatch([[5, 7, 5, 8, 7, 1], [9, 3, 9], [4]]);
const recalled = [
  { row: 0, at: 1, token: 5 },
  { row: 0, at: 3, token: 7 },
  { row: 1, at: 1, token: 9 },
];

/** Mean loss of the recalled tokens, one block replaced. */
async function lossWith(model: ModelRunner, layer: number, block: BlockView): Promise<number> {
  let hidden = await model.embed(text);
  for (let l = 0; l < model.layerCount; l++) {
    ({ hidden } = await model.runBlock(l, hidden, l === layer ? { replace: block } : {}));
  }
  const logits = await model.head(hidden);
  const size = model.vocabularySize;
  const losses = recalled.map(({ row, at, token }) => {
    const start = (row * text.sequenceLength + at) * size;
    const values = contiguousData(logits).slice(start, start + size);
    return Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0)) - values[token];
  });
  return losses.reduce((a, b) => a + b, 0) / losses.length;
}

/** The block, its output projection deaf to one of its key/value groups. */
function without(block: BlockView, group: number): BlockView {
  const { data, shape } = block.tensors.get("attention.output")!;
  const { headCount, keyValueHeadCount, headSize } = attentionOf(block);
  const features = headCount * headSize;
  const silent = data.map((value, i) => {
    const feature = specOf(block).linearLayout === "out-in" ? i % features : Math.floor(i / shape[1]);
    return Math.floor((feature * keyValueHeadCount) / features) === group ? 0 : value;
  });
  return withTensors(block, [["attention.output", tensor(silent, shape)]]);
}

describe("recallCosts", () => {
  it.each(["llama", "granite", "gpt_neox", "gpt2"])(
    "%s: is the rise of the repeated tokens' loss without a key/value group",
    async (name) => {
      await withModel(families[name], async (checkpoint) => {
        const model = await openRunner(checkpoint);
        const costs = await recallCosts(model, 0, [1, 3], opened([text]), 100, ctx);
        expect([...costs.keys()]).toEqual([1, 3]);
        for (const [layer, found] of costs) {
          const block = await model.block(layer);
          const dense = await lossWith(model, layer, block);
          expect(found).toHaveLength(attentionOf(block).keyValueHeadCount);
          for (const [group, cost] of found.entries()) {
            const rise = (await lossWith(model, layer, without(block, group))) - dense;
            expect(cost).toBeCloseTo(rise, 5);
            expect(Math.abs(rise)).toBeGreaterThan(1e-4);
          }
        }
        await model.close();
      });
    },
  );

  it("is 0 for heads that add nothing, and for a text that repeats nothing", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 1);
      const costs = await recallCosts(model, 0, [1, 2], opened([text]), 100, ctx);
      expect([...costs.get(1)!]).toEqual([0, 0]);
      for (const cost of costs.get(2)!) expect(cost).not.toBe(0);
      const none = await recallCosts(model, 0, [2], opened([tokenBatch([[1, 2, 3]])]), 100, ctx);
      expect([...none.get(2)!]).toEqual([0, 0]);
      await model.close();
    });
  });

  it("takes a model up from a later layer", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const later: ModelRunner = {
        ...model,
        embed: async (batch) => (await model.runBlock(0, await model.embed(batch))).hidden,
      };
      expect(await recallCosts(later, 1, [2], opened([text]), 100, ctx)).toEqual(
        await recallCosts(model, 0, [2], opened([text]), 100, ctx),
      );
      await model.close();
    });
  });

  it("looks at as many tokens as asked, from the whole text", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const embedded: number[] = [];
      const counting: ModelRunner = {
        ...model,
        embed: (batch) => {
          embedded.push(batch.inputIds[0]);
          return model.embed(batch);
        },
      };
      const rows = Array.from({ length: 10 }, (_, i) => tokenBatch([[i, i, i, i]]));
      await recallCosts(counting, 0, [0], opened(rows), 20, ctx);
      expect(embedded).toEqual([0, 2, 4, 6, 8]);
      await model.close();
    });
  });
});

describe("component-fold with recallHeads", () => {
  it("keeps the key/value groups that recall needs most", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const costs = await recallCosts(model, 0, [1, 2], opened(batches), 4096, ctx);
      const order = [1, 2]
        .flatMap((layer) => [...costs.get(layer)!].map((cost, group) => ({ layer, group, cost })))
        .sort((a, b) => b.cost - a.cost);
      const [, folded] = await repairedBlocks(
        componentFold({ heads: "joint", recallHeads: 2 }),
        model,
        middlePair,
      );
      const keys = contiguousData(folded.block.tensors.get("attention.key")!);
      const half = keys.length / 2;
      const found: string[] = [];
      for (const at of [0, 1]) {
        for (const { layer, group } of order) {
          const block = await model.block(layer);
          const gain = contiguousData(block.tensors.get("norm.attention")!);
          const own = contiguousData(block.tensors.get("attention.key")!).slice(
            group * half,
            (group + 1) * half,
          );
          const same = own.every(
            (value, i) => Math.abs(value * gain[i % gain.length] - keys[at * half + i]) < 1e-6,
          );
          if (same) found.push(`${layer}.${group}`);
        }
      }
      expect(found.sort()).toEqual(
        order
          .slice(0, 2)
          .map(({ layer, group }) => `${layer}.${group}`)
          .sort(),
      );
      await model.close();
    });
  });

  it("leaves those to the fit that recall needs less than `recallLeast`", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const costs = await recallCosts(model, 0, [1, 2], opened(batches), 4096, ctx);
      const order = [1, 2].flatMap((layer) => costs.get(layer)!).sort((a, b) => b - a);
      const keysOf = async (options: { recallHeads: number; recallLeast?: number }) => {
        const [, { block }] = await repairedBlocks(
          componentFold({ heads: "joint", ...options }),
          model,
          middlePair,
        );
        return block.tensors.get("attention.key")!.data;
      };
      const fitted = await keysOf({ recallHeads: 0 });
      const both = await keysOf({ recallHeads: 2 });
      expect(both).not.toEqual(fitted);
      const least = async (recallLeast: number) => keysOf({ recallHeads: 2, recallLeast });
      expect(await least(order[0] + 1e-6)).toEqual(fitted);
      expect(await least((order[0] + order[1]) / 2)).toEqual(await keysOf({ recallHeads: 1 }));
      expect(await least(order[1] - 1e-6)).toEqual(both);
      await model.close();
    });
  });
});
