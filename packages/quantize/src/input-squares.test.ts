import type { Checkpoint } from "@layerfold/checkpoint";
import { contiguousData, type Tensor, type TokenBatch, tokenBatch } from "@layerfold/core";
import { testContext, tinyLlama } from "@layerfold/testkit";
import { expect, it } from "vitest";
import { inputSquares } from "./input-squares.js";

async function* given(...batches: TokenBatch[]) {
  yield* batches;
}

it("takes the mean square of every input over the real tokens, block by block", async () => {
  const model = tinyLlama({ layerCount: 2, padding: 99 });
  const blocks = [await model.block(0), await model.block(1)];
  const checkpoint = {
    architecture: { blocks: blocks.map(({ spec }) => spec!) } as unknown as Checkpoint["architecture"],
    block: async (layer: number) => blocks[layer],
  };
  const sequences = [[5, 6, 7], [8]];
  const found = await inputSquares(checkpoint, model, given(tokenBatch(sequences)), testContext(0));
  expect(found.size).toBe(2 * 7);
  expect(found.get("model.layers.1.mlp.gate_proj.weight")).toEqual(
    found.get("model.layers.1.mlp.up_proj.weight"),
  );
  // The same by hand, a sequence at a time.
  const sum = new Float64Array(found.get("model.layers.1.mlp.down_proj.weight")!.length);
  for (const ids of sequences) {
    const first = await model.runBlock(0, await model.embed(tokenBatch([ids])));
    const { taps } = await model.runBlock(1, first.hidden, { taps: ["mlp.hidden"] });
    const values = contiguousData(taps.get("mlp.hidden") as Tensor<Float32Array>);
    for (const [i, value] of values.entries()) sum[i % sum.length] += value * value;
  }
  for (const [j, mean] of found.get("model.layers.1.mlp.down_proj.weight")!.entries())
    expect(mean).toBeCloseTo(sum[j] / 4, 6);
  await expect(inputSquares(checkpoint, model, given(), testContext(0))).rejects.toMatchObject({
    code: "CALIBRATION_EMPTY",
  });
});
