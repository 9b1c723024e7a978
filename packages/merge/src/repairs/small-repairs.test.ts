import {
  type BlockView,
  contiguousData,
  dropPlan,
  type MergePlan,
  type ModelRunner,
  type Repair,
  type Tensor,
  tensor,
} from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { describe, expect, it } from "vitest";
import { ctx, families, llama, opened, runnerWithIdleLayer, withModel } from "../tiny-models.test.fixture.js";
import { withTensors } from "./block-linear.js";
import { channelScale } from "./channel-scale.js";
import { concatenate } from "./concatenate.js";
import { hadamard } from "./hadamard.js";
import { hadamardScale } from "./hadamard-scale.js";
import { linear } from "./linear.js";
import { magnitude } from "./magnitude.js";
import { identity, withMappedUpdate } from "./mapped-update.js";
import { batches, middlePair, relativeDifference, repairedBlocks } from "./repaired-blocks.test.fixture.js";
import { residualLinear } from "./residual-linear.js";
import { withScaledUpdates } from "./scaled-updates.js";
import { searchedWeights } from "./searched-weights.js";

const plan = dropPlan(4, [0, 1, 3]);
const tight = { ridge: [1e-12], tokenWeighting: "none" as const };

const repaired = (
  repair: Repair,
  model: ModelRunner,
  of: MergePlan = plan,
  folded?: (group: number) => Promise<BlockView>,
) => repairedBlocks(repair, model, of, folded);

const largestChange = (a: BlockView, b: BlockView) =>
  Math.max(
    ...[...b.tensors].map(([role, value]) => {
      const wanted = contiguousData(value);
      return wanted.every((x: number) => x === 0)
        ? Math.max(...contiguousData(a.tensors.get(role)!).map(Math.abs))
        : relativeDifference(contiguousData(a.tensors.get(role)!), wanted);
    }),
  );

const small = [
  ["magnitude", magnitude()],
  ["channel-scale", channelScale(tight)],
  ["hadamard-scale", hadamardScale(tight)],
  ["residual-linear", residualLinear(tight)],
  ["linear by cosine", linear({ ...tight, objective: "cosine" })],
  ["searched-weights", searchedWeights({ ratios: [0.5, 1] })],
] as const;

describe.each(small)("%s", (name, repair) => {
  it.each(["llama with biases", "gpt2", "phi3", "gpt_neox", "granite"])(
    "leaves %s alone where the removed layer did nothing",
    async (family) => {
      await withModel(families[family], async (checkpoint) => {
        const model = await runnerWithIdleLayer(checkpoint, 2);
        for (const { block, error } of await repaired(repair, model)) {
          expect(largestChange(block, await model.block(block.layer))).toBeLessThan(
            // The map of many channels is only as well known as 60 tokens tell.
            name === "residual-linear" || name.startsWith("linear") ? 2e-3 : 1e-4,
          );
          expect(error!.after).toBeLessThan(1e-8);
        }
        await model.close();
      });
    },
  );

  it("does not let the error on the calibration text grow", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const least = name === "magnitude" ? magnitude({ estimate: "least-squares" }) : repair;
      const [, kept] = await repaired(least, model);
      expect(kept.error!.before).toBeGreaterThan(0.01);
      expect(kept.error!.after).toBeLessThanOrEqual(kept.error!.before);
      await model.close();
    });
  });
});

describe("maps on the MLP's update", () => {
  /** The dense model, in which layer 1's MLP gives `map` of what it gives in the folded one, and layer 2 nothing. */
  async function found(repair: Repair, map: Tensor<Float64Array>): Promise<number> {
    let difference = Number.NaN;
    await withModel(families["llama with biases"], async (checkpoint) => {
      const idle = await runnerWithIdleLayer(checkpoint, 2);
      const dense: ModelRunner = {
        ...idle,
        async block(layer) {
          const block = await idle.block(layer);
          return layer === 1 ? withMappedUpdate(block, "mlp.down", map, ctx) : block;
        },
        runBlock: async (layer, input, options) =>
          idle.runBlock(layer, input, {
            ...options,
            replace: options?.replace ?? (await dense.block(layer)),
          }),
      };
      const [, kept] = await repaired(repair, dense, plan, (group) =>
        idle.block(plan.groups[group].layers[0]),
      );
      expect(kept.error!.before).toBeGreaterThan(1e-3);
      expect(kept.error!.after).toBeLessThan(1e-8);
      difference = largestChange(kept.block, await dense.block(1));
      await idle.close();
    });
    return difference;
  }

  const factors = Float64Array.from({ length: 32 }, (_, i) => 0.5 + i / 20);
  const diagonal = tensor(
    identity(32).data.map((x, i) => x * factors[i % 32]),
    [32, 32],
  );

  it("channel-scale finds planted factors", async () => {
    expect(await found(channelScale(tight), diagonal)).toBeLessThan(1e-4);
  });

  it("hadamard-scale finds planted factors behind the rotation", async () => {
    const h = hadamard(32);
    const scaled = tensor(
      h.data.map((x, i) => x * factors[i % 32]),
      [32, 32],
    );
    const map = await ctx.engine.matmul<Tensor<Float64Array>>(scaled, h, { transposeB: true });
    expect(await found(hadamardScale(tight), map)).toBeLessThan(1e-4);
  });

  it.each([
    ["linear", linear(tight)],
    ["linear by cosine", linear({ ...tight, objective: "cosine" })],
    ["residual-linear", residualLinear(tight)],
  ] as const)("%s finds a planted map", async (_, repair) => {
    const map = tensor(
      Float64Array.from({ length: 32 * 32 }, (_, i) => Math.sin(i + 1) / 4 + Number(i % 33 === 0)),
      [32, 32],
    );
    expect(await found(repair, map)).toBeLessThan(2e-3);
  });
});

describe("linear by cosine", () => {
  it("turns the stream nearer to the dense one than least squares does", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const meanCosine = async (block: BlockView) => {
        let [sum, tokens] = [0, 0];
        for (const batch of batches) {
          let own = await model.embed(batch);
          ({ hidden: own } = await model.runBlock(0, own));
          const { hidden: afterOne } = await model.runBlock(1, own);
          const { hidden: target } = await model.runBlock(2, afterOne);
          ({ hidden: own } = await model.runBlock(1, own, { replace: block }));
          batch.lengths.forEach((length, b) => {
            for (let s = 0; s < length; s++, tokens++) {
              const at = (b * batch.sequenceLength + s) * 32;
              const [x, z] = [own, target].map(({ states }) => states.data.subarray(at, at + 32));
              sum +=
                x.reduce((dot, value, i) => dot + value * z[i], 0) / (Math.hypot(...x) * Math.hypot(...z));
            }
          });
        }
        return sum / tokens;
      };
      const [, leastSquares] = await repaired(linear(tight), model);
      const [, cosine] = await repaired(linear({ ...tight, objective: "cosine" }), model);
      expect(await meanCosine(cosine.block)).toBeGreaterThan(await meanCosine(leastSquares.block));
      await model.close();
    });
  });
});

describe("magnitude", () => {
  it.each(["llama", "gpt2", "gpt_neox", "granite"])(
    "%s: dividing what later blocks add is multiplying the stream before them",
    async (family) => {
      await withModel(
        { ...families[family], layer_norm_epsilon: 0, rms_norm_eps: 0, layer_norm_eps: 0 },
        async (checkpoint) => {
          const model = await openRunner(checkpoint);
          const run = async (factor: number, streamFactor: number) => {
            let hidden = await model.embed(batches[0]);
            ({ hidden } = await model.runBlock(0, hidden));
            hidden = {
              ...hidden,
              states: tensor(
                hidden.states.data.map((x) => x * streamFactor),
                hidden.states.shape,
              ),
            };
            for (const layer of [1, 2, 3]) {
              const replace = withScaledUpdates(await model.block(layer), factor);
              ({ hidden } = await model.runBlock(layer, hidden, { replace }));
            }
            return Array.from((await model.head(hidden)).data.subarray(0, 12 * 50));
          };
          expect(relativeDifference(await run(1 / 3, 1), await run(1, 3))).toBeLessThan(1e-4);
          await model.close();
        },
      );
    },
  );

  it("finds the factor that a layer puts on the stream", async () => {
    await withModel({ ...llama, rms_norm_eps: 1e-12 }, async (checkpoint) => {
      const idle = await runnerWithIdleLayer(checkpoint, 2);
      // A layer 2 that triples the stream, which no block could; the layer behind it sees a stream of three times the size.
      const model: ModelRunner = {
        ...idle,
        async runBlock(layer, input, options) {
          const out = await idle.runBlock(layer, input, options);
          if (layer !== 2 || options?.replace) return out;
          const { states, lengths } = out.hidden;
          return {
            ...out,
            hidden: {
              lengths,
              states: tensor(
                states.data.map((x) => 3 * x),
                states.shape,
              ),
            },
          };
        },
      };
      for (const estimate of ["mean-norm", "least-squares"] as const) {
        const blocks = await repaired(magnitude({ estimate }), model);
        expect(blocks[1].error!.after).toBeLessThan(1e-9);
        expect(blocks[2].error!.after).toBeLessThan(1e-9);
        const dense = contiguousData((await model.block(3)).tensors.get("mlp.down")!);
        const down = contiguousData(blocks[2].block.tensors.get("mlp.down")!);
        expect(
          relativeDifference(
            Array.from(down, (x) => 3 * x),
            dense,
          ),
        ).toBeLessThan(1e-5);
      }
      await idle.close();
    });
  });

  it("refuses a family whose stream itself is normalised", async () => {
    const opt = {
      model_type: "opt",
      hidden_size: 32,
      ffn_dim: 40,
      num_attention_heads: 4,
      num_hidden_layers: 4,
      vocab_size: 50,
      max_position_embeddings: 64,
      word_embed_proj_dim: 32,
      do_layer_norm_before: false,
    };
    await withModel(opt, async (checkpoint) => {
      const block = await checkpoint.block(0);
      expect(() => withScaledUpdates(block, 2)).toThrow(
        expect.objectContaining({ code: "UPDATE_NOT_SCALABLE" }),
      );
    });
  });
});

describe("searched-weights", () => {
  it("keeps the layer that does all the work", async () => {
    await withModel(llama, async (checkpoint) => {
      const idle = await runnerWithIdleLayer(checkpoint, 2);
      // Layer 2 adds nothing, so all the work is layer 1's.
      const [, kept] = await repaired(searchedWeights(), idle, middlePair);
      expect(largestChange(kept.block, await idle.block(1))).toBe(0);
      await idle.close();
    });
  });
});

describe("concatenate", () => {
  it.each(
    ["llama", "llama with biases", "qwen2", "phi3", "granite", "gpt2"].flatMap((family) =>
      (["sensitivity", "leverage"] as const).flatMap((importance) =>
        [true, false].map((compensate) => [family, importance, compensate] as const),
      ),
    ),
  )(
    "%s, %s, compensated %s: takes the working layer where the other is idle",
    async (family, importance, compensate) => {
      await withModel(families[family], async (checkpoint) => {
        // Idle throughout: what neither reads nor writes is of no importance by either measure.
        const model = await runnerWithIdleLayer(checkpoint, 2);
        const silent: ModelRunner = {
          ...model,
          async block(layer) {
            const block = await model.block(layer);
            if (layer !== 2) return block;
            return withTensors(
              block,
              [...block.tensors].map(
                ([role, t]) => [role, tensor(new Float32Array(t.data.length), t.shape)] as const,
              ),
            );
          },
        };
        const [, kept] = await repaired(
          concatenate({ importance, compensate, ridge: [1e-9] }),
          silent,
          middlePair,
        );
        const shapes = ({ tensors }: BlockView) =>
          [...tensors].map(([role, { shape }]) => [role, shape]).sort();
        expect(shapes(kept.block)).toEqual(shapes(await model.block(1)));
        expect(kept.error!.after).toBeLessThan(1e-7);
        await model.close();
      });
    },
  );

  it("compensation brings the block nearer to the two side by side", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const wideUpdate = async (block: BlockView, hidden: Parameters<ModelRunner["runBlock"]>[1]) =>
        (await model.runBlock(1, hidden, { replace: block, taps: ["attention.update"] })).taps.get(
          "attention.update",
        )!.data;
      const distance = async (compensate: boolean) => {
        const [, kept] = await repaired(
          concatenate({ compensate, tokenWeighting: "none", ridge: [1e-9] }),
          model,
          middlePair,
        );
        let sum = 0;
        for (const batch of batches) {
          const { hidden } = await model.runBlock(0, await model.embed(batch));
          const one = await wideUpdate(await model.block(1), hidden);
          const other = await wideUpdate(await model.block(2), hidden);
          const own = await wideUpdate(kept.block, hidden);
          batch.lengths.forEach((length, b) => {
            for (let i = b * batch.sequenceLength * 32; i < (b * batch.sequenceLength + length) * 32; i++) {
              sum += (own[i] - one[i] - other[i]) ** 2;
            }
          });
        }
        return sum;
      };
      expect(await distance(true)).toBeLessThan(await distance(false));
      await model.close();
    });
  });
});

it("every repair is deterministic", async () => {
  await withModel(llama, async (checkpoint) => {
    const model = await openRunner(checkpoint);
    for (const repair of [
      ...small.map(([, each]) => each),
      residualLinear({ ridge: [1e-4, 1e-2], heldOutEvery: 3 }),
      channelScale({ ridge: [1e-4, 1e-2], heldOutEvery: 3 }),
      concatenate({ importance: "leverage" }),
    ]) {
      expect(await repaired(repair, model)).toEqual(await repaired(repair, model));
    }
    await model.close();
  });
});

it("says when it got no text", async () => {
  await withModel(llama, async (checkpoint) => {
    const model = await openRunner(checkpoint);
    for (const repair of [...small.map(([, each]) => each), concatenate()]) {
      const run = async () => {
        for await (const _ of repair.fit(model, plan, (g) => model.block(g), opened([]), ctx));
      };
      await expect(run()).rejects.toMatchObject({ code: "CALIBRATION_EMPTY" });
    }
    await model.close();
  });
});
