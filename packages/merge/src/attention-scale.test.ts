import { join } from "node:path";
import {
  architectureOf,
  type Checkpoint,
  openCheckpoint,
  type TensorSource,
  writeCheckpoint,
} from "@layerfold/checkpoint";
import { type BlockView, contiguousData, encodeFloats, parsePlan } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { expect, it } from "vitest";
import { placedBlock, scaledQueries } from "./attention-scale.js";
import { checkRepair, layerFacts } from "./check-repair.js";
import { type FoldRequest, foldCheckpoint } from "./fold-checkpoint.js";
import { foldedBlocks, foldGroup } from "./folded-blocks.js";
import { foldedRunner } from "./folded-runner.js";
import { componentFold } from "./repairs/component-fold.js";
import { concatenate } from "./repairs/concatenate.js";
import { reconstruct } from "./repairs/reconstruct.js";
import { searchedWeights } from "./repairs/searched-weights.js";
import { weighted } from "./strategies/weighted.js";
import { ctx, families, llama, opened, tokenBatches, withModel } from "./tiny-models.test.fixture.js";

const gpt2 = { ...families.gpt2, scale_attn_by_inverse_layer_idx: true };
const batches = tokenBatches(2, 3, 12);
const plan = parsePlan({
  version: 1,
  num_hidden_layers: 4,
  // Index 1 is taken by what runs at index 2: its attention there is divided by 3.
  groups: [{ layers: [0, 1], weights: [0, 1] }, { layers: [2, 3] }],
});

it.each([
  ["merged", {}],
  ["repaired", { repair: reconstruct(), calibration: opened(batches) }],
] as const)("%s blocks that move keep computing what they did", async (_, request: Partial<FoldRequest>) => {
  await withModel(gpt2, async (checkpoint, folder) => {
    const out = join(folder, "out");
    const runner = await openRunner(checkpoint);
    // What the repair left, or the merge, run in its old place.
    const left = new Map<number, BlockView>();
    const { repair } = request;
    const observed = repair && {
      ...repair,
      async *fit(...args: Parameters<typeof repair.fit>) {
        for await (const item of repair.fit(...args)) {
          left.set(item.index, item.block);
          yield item;
        }
      },
    };
    const strategy = weighted();
    await foldCheckpoint(checkpoint, plan, { strategy, out, ...request, repair: observed, runner }, ctx);
    const folded = foldedBlocks(checkpoint, plan, strategy, ctx);
    const inMemory = foldedRunner(runner, plan, async (group) => left.get(group) ?? folded(group));
    const written = await openCheckpoint(out);
    const reopened = await openRunner(written);
    const streams: Float32Array[] = [];
    for (const model of [inMemory, reopened]) {
      let hidden = await model.embed(batches[0]);
      for (let layer = 0; layer < 2; layer++) ({ hidden } = await model.runBlock(layer, hidden));
      streams.push(hidden.states.data);
    }
    const [wanted, got] = streams;
    const largest = got.reduce((most, x, i) => Math.max(most, Math.abs(x - wanted[i])), 0);
    // Rounding of one float32 product; the streams are of the order of 1.
    expect(largest).toBeLessThan(1e-5);
    await reopened.close();
    await written.close();
    await inMemory.close();
  });
});

it("layers that compute the same merge to what they compute, though their queries are written for other places", async () => {
  await withModel(gpt2, async (checkpoint) => {
    const first = await checkpoint.block(1);
    // Layer 1's block as it would have to stand at index 3.
    const moved = { ...placedBlock(first, checkpoint.architecture.blocks[3]), layer: 3 };
    const values = ({ tensors }: BlockView) => Array.from(contiguousData(tensors.get("attention.qkv")!));
    // [32 inputs, 96 outputs], of which 32 make queries: score/2 with them is score/4 with twice as much.
    values(first).forEach((value, i) => {
      expect(values(moved)[i]).toBe(i % 96 < 32 ? 2 * value : value);
    });
    const source = { block: async (layer: number) => (layer === 1 ? first : moved) };
    const merged = await foldGroup({ layers: [1, 3], weights: [0.5, 0.5] }, weighted(), ctx, source);
    expect(values(merged)).toEqual(values(first));
  });
});

it("refuses where a norm stands on the queries", async () => {
  await withModel({ ...llama, model_type: "qwen3", head_dim: 8 }, async (checkpoint) => {
    const block = await checkpoint.block(1);
    const { spec } = block;
    expect(placedBlock(block, spec)).toBe(block);
    const place = { ...spec!, mixer: { ...spec!.mixer, scale: 1 } } as typeof spec;
    expect(() => placedBlock(block, place)).toThrow(
      expect.objectContaining({ code: "CONFIG_CANNOT_EXPRESS" }),
    );
  });
});

it.each([
  ["component-fold", componentFold()],
  ["concatenate", concatenate()],
  ["searched-weights", searchedWeights()],
])("%s folds layers of unlike scales as it does those whose queries hold the scale", async (_, repair) => {
  const fold = async (checkpoint: Checkpoint) => {
    const runner = await openRunner(checkpoint);
    const { groups } = parsePlan({
      version: 1,
      num_hidden_layers: 4,
      groups: [{ layers: [0] }, { layers: [1, 2] }, { layers: [3] }],
    });
    checkRepair(repair, await layerFacts(checkpoint), groups);
    const threefold = { ...plan, groups };
    const folded = foldedBlocks(checkpoint, threefold, weighted(), ctx);
    const left = new Map<number, BlockView>();
    for await (const { index, block } of repair.fit(runner, threefold, folded, opened(batches), ctx)) {
      left.set(index, block);
    }
    const model = foldedRunner(runner, threefold, async (group) => left.get(group)!);
    let hidden = await model.embed(batches[0]);
    for (let layer = 0; layer < 3; layer++) ({ hidden } = await model.runBlock(layer, hidden));
    await model.close();
    return hidden.states.data;
  };
  await withModel(gpt2, async (checkpoint, folder) => {
    const byIndex = await fold(checkpoint);
    // The same model, its queries divided by the layer's number and no scale left to do it.
    const config = { ...checkpoint.config, scale_attn_by_inverse_layer_idx: false };
    const plain = architectureOf(config);
    const tensors: TensorSource[] = [];
    for (const [layer, spec] of [undefined, ...checkpoint.architecture.blocks].entries()) {
      const names = spec ? [...spec.tensors] : [...plain.globals.keys()].map((name) => ["", name] as const);
      for (const [role, name] of names) {
        const stored = await checkpoint.read(name);
        const value = spec ? scaledQueries(spec, role, stored, 1 / layer) : stored;
        const bytes = () => encodeFloats(contiguousData(value), "float32");
        tensors.push({ name, dtype: "float32", shape: value.shape, bytes });
      }
    }
    await writeCheckpoint(join(folder, "plain"), { config, tensors });
    const other = await openCheckpoint(join(folder, "plain"));
    const inQueries = await fold(other);
    await other.close();
    const largest = byIndex.reduce((most, x, i) => Math.max(most, Math.abs(x - inQueries[i])), 0);
    // Least squares lets the rounding of the queries grow.
    expect(largest).toBeLessThan(1e-3);
  });
});
