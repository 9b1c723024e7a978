import { type BlockView, contiguousData, type ModelRunner, type Tensor, tensor } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ctx, families, llama, tokenBatches, withModel } from "../tiny-models.test.fixture.js";
import { alignBlock } from "./align-block.js";
import { aligned } from "./aligned.js";
import { bestAssignment } from "./assignment.js";
import { foldNorms } from "./fold-norms.js";
import { weighted } from "./weighted.js";

const everyFamily: Record<string, Record<string, unknown>> = {
  ...families,
  "qwen3: a norm on each head's queries and keys": { ...llama, model_type: "qwen3", head_dim: 8 },
  "olmo2: a norm on all queries and all keys": { ...llama, model_type: "olmo2" },
  "gemma2: offset gains, norms behind the parts": {
    ...llama,
    model_type: "gemma2",
    head_dim: 8,
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: 8,
    sliding_window: 8,
  },
  "mixtral: experts": {
    ...llama,
    model_type: "mixtral",
    num_local_experts: 3,
    num_experts_per_tok: 2,
    tie_word_embeddings: false,
  },
};

const [batch] = tokenBatches(1, 3, 12);

/** Untrained norms are all 1 and biases 0; a law about them needs others. */
function shaken(view: BlockView): BlockView {
  const rng = seededRng(5).fork(view.layer);
  const tensors = [...view.tensors].map(([role, value]) => {
    if (value.shape.length > 1) return [role, value] as const;
    const data = contiguousData(value).map((x: number) => x + 0.3 * rng.normal());
    return [role, tensor(Float32Array.from(data), value.shape)] as const;
  });
  return { ...view, tensors: new Map<string, Tensor>(tensors) };
}

/** Logits of the model whose blocks went through `change`, and the largest of them. */
async function logits(runner: ModelRunner, change: (block: BlockView) => BlockView | Promise<BlockView>) {
  let hidden = await runner.embed(batch);
  for (let layer = 0; layer < runner.layerCount; layer++) {
    const replace = await change(shaken(await runner.block(layer)));
    ({ hidden } = await runner.runBlock(layer, hidden, { replace }));
  }
  const { data, shape } = await runner.head(hidden);
  // Padded positions say nothing.
  return Array.from(data).filter((_, i) => {
    const position = Math.floor(i / shape[2]);
    return position % shape[1] < batch.lengths[Math.floor(position / shape[1])];
  });
}

function expectEqualLogits(got: number[], wanted: number[]) {
  const size = wanted.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
  const difference = got.reduce((largest, x, i) => Math.max(largest, Math.abs(x - wanted[i])), 0);
  // float32 sums in another order, over four layers.
  expect(difference).toBeLessThan(2e-5 * size);
}

describe.each(Object.keys(everyFamily))("%s", (name) => {
  it("permuting neurons and heads changes no logit", async () => {
    await withModel(everyFamily[name], async (checkpoint) => {
      const runner = await openRunner(checkpoint);
      const reference = shaken(await runner.block(0));
      let moved = 0;
      const permuted = await logits(runner, async (block) => {
        const result = await alignBlock(reference, block, ctx);
        for (const [role, value] of block.tensors) {
          const [now, was] = [contiguousData(result.tensors.get(role)!), contiguousData(value)];
          if (now.some((x: number, i: number) => x !== was[i])) moved++;
        }
        return result;
      });
      expect(moved).toBeGreaterThan(0);
      expectEqualLogits(permuted, await logits(runner, (block) => block));
      await runner.close();
    });
  });

  it("moving norms into the maps behind them changes no logit", async () => {
    await withModel(everyFamily[name], async (checkpoint) => {
      const runner = await openRunner(checkpoint);
      expectEqualLogits(await logits(runner, foldNorms), await logits(runner, (block) => block));
      await runner.close();
    });
  });
});

it("refuses to move a norm's bias into a map that has none", async () => {
  const config = { ...llama, model_type: "stablelm", layer_norm_eps: 1e-5, use_qkv_bias: false };
  await withModel(config, async (checkpoint) => {
    const block = shaken(await checkpoint.block(0));
    expect(() => foldNorms(block)).toThrow(expect.objectContaining({ code: "NORM_NOT_FOLDABLE" }));
  });
});

describe("aligned", () => {
  it("merges a layer with its permuted self into the same layer", async () => {
    await withModel(llama, async (checkpoint) => {
      const [block, other] = [await checkpoint.block(0), await checkpoint.block(1)];
      // The order that suits another layer: any permutation at all.
      const permuted = await alignBlock(other, block, ctx);
      const merged = await aligned().merge([block, permuted], [0.5, 0.5], ctx);
      const plain = await weighted().merge([block, permuted], [0.5, 0.5], ctx);
      for (const [role, value] of block.tensors) {
        expect(contiguousData(merged.tensors.get(role)!)).toEqual(contiguousData(value));
      }
      expect(plain.tensors.get("mlp.up")).not.toEqual(block.tensors.get("mlp.up"));
    });
  });

  it("brings a later layer's weights nearer to the first's", async () => {
    await withModel(llama, async (checkpoint) => {
      const [first, second] = [await checkpoint.block(0), await checkpoint.block(1)];
      const distance = (block: BlockView) =>
        [...first.tensors].reduce((sum, [role, value]) => {
          const b = contiguousData(block.tensors.get(role)!);
          const a = Array.from(contiguousData(value));
          return a.reduce((total, x, i) => total + (x - b[i]) ** 2, sum);
        }, 0);
      expect(distance(await alignBlock(first, second, ctx))).toBeLessThan(distance(second));
    });
  });
});

describe("bestAssignment", () => {
  const permutations = (items: number[]): number[][] =>
    items.length === 0
      ? [[]]
      : items.flatMap((item) => permutations(items.filter((x) => x !== item)).map((rest) => [item, ...rest]));

  it("finds the largest total that any permutation has", () => {
    const gains = fc
      .integer({ min: 1, max: 6 })
      .chain((n) =>
        fc.tuple(
          fc.constant(n),
          fc.array(fc.integer({ min: -9, max: 9 }), { minLength: n * n, maxLength: n * n }),
        ),
      );
    fc.assert(
      fc.property(gains, ([n, values]) => {
        const total = (order: ArrayLike<number>) =>
          Array.from(order).reduce((sum, column, row) => sum + values[row * n + column], 0);
        const order = bestAssignment(tensor(Float64Array.from(values), [n, n]));
        expect(Array.from(order).sort()).toEqual(Array.from(order.keys()));
        const best = Math.max(...permutations(Array.from(order.keys())).map(total));
        expect(total(order)).toBe(best);
      }),
    );
  });

  it("refuses a gain that is no number, for which the search would not end", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => bestAssignment(tensor(Float64Array.of(1, bad, 0, 1), [2, 2]))).toThrow(
        expect.objectContaining({ code: "WEIGHT_NOT_FINITE", got: `${bad} at [0, 1]` }),
      );
    }
  });

  it("undoes a permutation of 200", () => {
    const order = seededRng(2).permutation(200);
    const gain = new Float64Array(200 * 200);
    for (let row = 0; row < 200; row++) gain[row * 200 + order[row]] = 1;
    expect(bestAssignment(tensor(gain, [200, 200]))).toEqual(order);
  });
});
