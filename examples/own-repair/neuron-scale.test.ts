import {
  contiguousData,
  dropPlan,
  type Matrix,
  type RepairedBlock,
  tensor,
  tokenBatch,
} from "@layerfold/core";
import { repairChecks, testContext, tinyLlama } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import neuronScale from "./neuron-scale.js";

// The laws that every repair obeys.
describe("neuron-scale keeps the contract", () => {
  for (const { name, run } of repairChecks(() => neuronScale())) it(name, run);
});

it("finds the factors back that a block's neurons were divided by", async () => {
  const model = tinyLlama({ layerCount: 2, hiddenSize: 16, intermediateSize: 12 });
  const { rng } = testContext(1);
  const divisors = Array.from({ length: 12 }, () => 1 + rng.uniform());
  const down = (await model.block(0)).tensors.get("mlp.down") as Matrix;
  const spoilt = Float32Array.from(contiguousData(down), (w, at) => w / divisors[at % 12]);
  const folded = async (group: number) => {
    const block = await model.block(group);
    if (group > 0) return block;
    return {
      ...block,
      tensors: new Map([...block.tensors, ["mlp.down", tensor(spoilt, down.shape)] as const]),
    };
  };
  const calibration = async function* () {
    for (let batch = 0; batch < 4; batch++) {
      yield tokenBatch([Int32Array.from({ length: 32 }, () => rng.integer(64))]);
    }
  };
  const repair = neuronScale({ ridge: [1e-9], tokenWeighting: "none" });
  const blocks: RepairedBlock[] = [];
  for await (const block of repair.fit(model, dropPlan(2, [0, 1]), folded, calibration, testContext(1))) {
    blocks.push(block);
  }
  const repaired = contiguousData(blocks[0].block.tensors.get("mlp.down")!);
  contiguousData(down).forEach((w: number, at: number) => void expect(repaired[at]).toBeCloseTo(w, 4));
  expect(blocks[0].error!.before).toBeGreaterThan(1e-3);
  expect(blocks[0].error!.after).toBeLessThan(1e-8);
});
