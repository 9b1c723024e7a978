import {
  type BlockView,
  contiguousData,
  type Diagnostic,
  dropPlan,
  parsePlan,
  type Repair,
  type ReportEvent,
  tensor,
} from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { describe, expect, it } from "vitest";
import { withoutWeights } from "../compatible-layers.js";
import {
  ctx,
  families,
  llama,
  opened,
  runnerWithIdleLayer,
  tokenBatches,
  withModel,
} from "../tiny-models.test.fixture.js";
import { specOf } from "./block-linear.js";
import { componentFold } from "./component-fold.js";
import { linear } from "./linear.js";
import { reconstruct } from "./reconstruct.js";
import {
  middlePair,
  relativeDifference,
  repairedBlocks as repaired,
} from "./repaired-blocks.test.fixture.js";

const values = (block: BlockView, role: string) => contiguousData(block.tensors.get(role)!);
const tight = { ridge: [1e-9] };

describe("component-fold", () => {
  // Of two layers one adds nothing: the best components are those of the other, and the fold is exact. The place of the idle layer shows
  // that components really come from both.
  const cases = Object.keys(families).flatMap((name) =>
    (["sum", "joint", "none"] as const).flatMap((heads) =>
      [1, 2].map((idle) => [name, heads, idle] as const),
    ),
  );
  it.each(cases)(
    "%s, heads %s: takes the working layer where layer %i is idle",
    async (name, heads, idle) => {
      await withModel(families[name], async (checkpoint) => {
        const model = await runnerWithIdleLayer(checkpoint, idle);
        const repair = componentFold({ ...tight, heads, headRidge: [1e-9] });
        // Where heads stay, stand behind the idle layer's query norm, or leave the neurons behind the idle layer's own attention, the fold
        // cannot be exact.
        const parallel = specOf(await model.block(1)).residual === "parallel";
        const exact = idle === 2 || (heads !== "none" && name !== "qwen3" && (heads === "sum" || parallel));
        const [, folded, last] = await repaired(repair, model, middlePair);
        if (exact) {
          expect(folded.error!.after).toBeLessThan(1e-7);
          expect(last.error!.after).toBeLessThan(1e-7);
        }
        if (idle === 1) {
          expect(folded.error!.before).toBeGreaterThan(0.01);
          expect(folded.error!.after).toBeLessThan(folded.error!.before);
        }
        const shapes = ({ tensors }: BlockView) =>
          [...tensors].map(([role, { shape }]) => [role, shape]).sort();
        expect(shapes(folded.block)).toEqual(shapes(await model.block(1)));
        await model.close();
      });
    },
  );

  it("leaves layers that stand for themselves as they are, where asked", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const [, pair, behind] = await repaired(componentFold(), model, middlePair);
      const dense = values(await model.block(3), "mlp.down");
      expect(values(behind.block, "mlp.down")).not.toEqual(dense);
      expect(behind.error).toBeDefined();
      const [, samePair, left] = await repaired(componentFold({ refitSingles: false }), model, middlePair);
      expect(values(left.block, "mlp.down")).toEqual(dense);
      expect(left.error).toBeUndefined();
      expect(values(samePair.block, "mlp.down")).toEqual(values(pair.block, "mlp.down"));
      await model.close();
    });
  });

  it("lets layers close behind a fold learn too, where asked", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const firstPair = parsePlan({
        version: 1,
        num_hidden_layers: 4,
        groups: [{ layers: [0, 1] }, { layers: [2] }, { layers: [3] }],
      });
      const learning = { refineEpochs: 20, refineTokens: 40, refineRate: 0.03 };
      const gates = async (repair: Repair) =>
        (await repaired(repair, model, firstPair)).map(({ block }) => values(block, "mlp.gate"));
      const dense = [values(await model.block(2), "mlp.gate"), values(await model.block(3), "mlp.gate")];
      for (const options of [{ refitSingles: false }, {}]) {
        const [, next, last] = await gates(componentFold({ ...learning, ...options, refineBehind: 1 }));
        expect(next).not.toEqual(dense[0]);
        expect(last).toEqual(dense[1]);
      }
      const errors = async (repair: Repair) =>
        (await repaired(repair, model, firstPair)).map(({ error }) => error?.after);
      const alone = await errors(componentFold({ ...learning, refitSingles: false, refineBehind: 2 }));
      const untouched = await errors(reconstruct({ refineEpochs: 0 }));
      const learnt = await errors(reconstruct({ ...learning, refineBehind: 1 }));
      expect(alone[2]).toBeDefined();
      expect(learnt[1]).toBeLessThan(untouched[1]!);
      await model.close();
    });
  });

  it("chooses on a part of the text where asked, and fits down to all of it", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 2);
      const exact = componentFold({ ...tight, headRidge: [1e-9], choiceEvery: 2 });
      const [, folded] = await repaired(exact, model, middlePair);
      expect(folded.error!.after).toBeLessThan(1e-7);
      const dense = await openRunner(checkpoint);
      const [, all] = await repaired(componentFold({ heads: "none", neurons: false }), dense, middlePair);
      const [, part] = await repaired(
        componentFold({ heads: "none", neurons: false, choiceEvery: 3 }),
        dense,
        middlePair,
      );
      // With nothing to choose both are the same least squares over the whole text, the second from a first guess.
      expect(part.error!.after).toBeLessThan(1.01 * all.error!.after);
      await dense.close();
      await model.close();
    });
  });

  it("leaves the heads of a group that holds layer 0", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 3);
      const first = parsePlan({
        version: 1,
        num_hidden_layers: 4,
        groups: [{ layers: [0, 1] }, { layers: [2, 3] }],
      });
      const [folded, other] = await repaired(componentFold(), model, first);
      expect(values(folded.block, "attention.output")).toEqual(
        values(await model.block(0), "attention.output"),
      );
      expect(values(other.block, "attention.output")).not.toEqual(
        values(await model.block(2), "attention.output"),
      );
      await model.close();
    });
  });

  it("refuses what it cannot fold, naming the layer", async () => {
    const refused: [Record<string, unknown>, string][] = [
      [{ ...llama, model_type: "olmo2" }, "a norm stands"],
      [{ ...llama, model_type: "gemma2", head_dim: 8, query_pre_attn_scalar: 8 }, "a norm stands"],
    ];
    for (const [config, reason] of refused) {
      await withModel(config, async (checkpoint) => {
        const model = await runnerWithIdleLayer(checkpoint, 1);
        await expect(repaired(componentFold(), model, middlePair)).rejects.toMatchObject({
          code: "REPAIR_UNSUPPORTED",
          message: expect.stringContaining(reason),
        });
        await model.close();
      });
    }
  });
});

describe("experts", () => {
  const experts = { num_experts_per_tok: 2, moe_intermediate_size: 20, norm_topk_prob: true };
  const models: Record<string, Record<string, unknown>> = {
    mixtral: { ...llama, ...experts, model_type: "mixtral", num_local_experts: 4 },
    qwen3_moe: { ...llama, ...experts, model_type: "qwen3_moe", head_dim: 8, num_experts: 4 },
  };
  it.each(Object.keys(models))(
    "%s: each learns what the block misses, on the tokens that chose it",
    async (name) => {
      await withModel(models[name], async (checkpoint) => {
        const model = await openRunner(checkpoint);
        const whole = dropPlan(4, [0, 1, 2, 3]);
        const rng = seededRng(4);
        const folded = async (group: number) => {
          const block = await model.block(group);
          if (group !== 1) return block;
          const spoilt = [...block.tensors].map(([role, t]) => {
            if (!/^experts.*down$/.test(role)) return [role, t] as const;
            const noisy = Float32Array.from(contiguousData(t), (x) => x + 0.2 * rng.normal());
            return [role, tensor(noisy, t.shape)] as const;
          });
          return { ...block, tensors: new Map(spoilt) };
        };
        const same = await repaired(reconstruct(), model, whole);
        for (const { error } of same) expect(error!.after).toBeLessThan(1e-9);
        const [, fixed] = await repaired(reconstruct({ ridge: [1e-4] }), model, whole, folded);
        expect(fixed.error!.before).toBeGreaterThan(1e-3);
        expect(fixed.error!.after).toBeLessThan(0.5 * fixed.error!.before);
        const plan = dropPlan(4, [0, 1, 3]);
        await expect(repaired(reconstruct({ refineEpochs: 1 }), model, plan)).rejects.toMatchObject({
          code: "REPAIR_UNSUPPORTED",
          message: expect.stringContaining("experts"),
        });
        const [, dropped] = await repaired(reconstruct(), model, plan);
        const [, merged] = await repaired(componentFold(), model, plan);
        expect(merged.error!.after).toBeLessThan(dropped.error!.after);
        expect(values(merged.block, "attention.output")).not.toEqual(
          values(dropped.block, "attention.output"),
        );
        await model.close();
      });
    },
  );
});

describe("reconstruct", () => {
  it("leaves a model alone from which nothing was taken", async () => {
    await withModel(families["llama with biases"], async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 2);
      const whole = dropPlan(4, [0, 1, 2, 3]);
      for (const { block, index, error } of await repaired(reconstruct(), model, whole)) {
        expect(values(block, "mlp.down")).toEqual(values(await model.block(index), "mlp.down"));
        expect(error).toEqual({ before: 0, after: 0 });
      }
      const [first, , behind] = await repaired(reconstruct(), model, dropPlan(4, [0, 1, 3]));
      expect(first.error).toEqual({ before: 0, after: 0 });
      const dense = values(await model.block(3), "mlp.down");
      expect(relativeDifference(values(behind.block, "mlp.down"), dense)).toBeLessThan(1e-4);
      await model.close();
    });
  });

  it.each(Object.keys(families))(
    "%s: finds the down projection back that a strategy spoilt",
    async (name) => {
      await withModel(families[name], async (checkpoint) => {
        const model = await runnerWithIdleLayer(checkpoint, 2);
        const plan = dropPlan(4, [0, 1, 3]);
        const rng = seededRng(4);
        const folded = async (group: number) => {
          const block = await model.block(plan.groups[group].layers[0]);
          const down = values(block, "mlp.down").map((x: number) => x + 0.1 * rng.normal());
          const spoilt = tensor(Float32Array.from(down), block.tensors.get("mlp.down")!.shape);
          return { ...block, tensors: new Map([...block.tensors, ["mlp.down", spoilt] as const]) };
        };
        for (const { error, block } of await repaired(reconstruct(tight), model, plan, folded)) {
          expect(error!.before).toBeGreaterThan(1e-3);
          expect(error!.after).toBeLessThan(1e-7);
          const dense = values(await model.block(block.layer), "mlp.down");
          expect(relativeDifference(values(block, "mlp.down"), dense)).toBeLessThan(1e-2);
        }
        await model.close();
      });
    },
  );

  it.each(Object.keys(families))(
    "%s: gate and up learn what a strategy spoilt, where asked",
    async (name) => {
      await withModel(families[name], async (checkpoint) => {
        const model = await runnerWithIdleLayer(checkpoint, 2);
        const plan = dropPlan(4, [0, 1, 3]);
        const folded = async (group: number) => {
          const block = await model.block(plan.groups[group].layers[0]);
          const role = ["mlp.gate_up", "mlp.gate", "mlp.up"].find((r) => block.tensors.has(r))!;
          const rng = seededRng(4);
          const spoilt = values(block, role).map((x: number) => x + 0.3 * rng.normal());
          const shape = block.tensors.get(role)!.shape;
          return {
            ...block,
            tensors: new Map([...block.tensors, [role, tensor(Float32Array.from(spoilt), shape)] as const]),
          };
        };
        const errorOf = async (refineEpochs: number) => {
          const repair = reconstruct({ ridge: [1e-4], refineEpochs, refineTokens: 40, refineRate: 0.03 });
          const [first, standsForTwo] = await repaired(repair, model, plan, folded);
          return { alone: first.error!.after, two: standsForTwo.error!.after };
        };
        const without = await errorOf(0);
        const learnt = await errorOf(80);
        expect(learnt.two).toBeLessThan(0.5 * without.two);
        // Layers that stand for themselves are not touched.
        expect(learnt.alone).toBe(without.alone);
        await model.close();
      });
    },
  );

  it("says when blocks come without a word on how they lie", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 2);
      const bare = async (group: number) => {
        const { spec: _, ...block } = await model.block(group);
        return block;
      };
      await expect(repaired(reconstruct(), model, dropPlan(4, [0, 1, 3]), bare)).rejects.toMatchObject({
        code: "BLOCK_SPEC_MISSING",
      });
      await model.close();
    });
  });

  it("says that there are fewer tokens than activations, and where no ridge could help", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 2);
      const few = opened(tokenBatches(3, 1, 4));
      const fit = async (options: Parameters<typeof reconstruct>[0]) => {
        const seen: Diagnostic[] = [];
        const report = (event: ReportEvent) => {
          if (event.type === "diagnostic") seen.push(event);
        };
        const plan = dropPlan(4, [0, 1, 3]);
        const folded = (group: number) => model.block(plan.groups[group].layers[0]);
        for await (const _ of reconstruct(options).fit(model, plan, folded, few, { ...ctx, report }));
        return seen;
      };
      const [first] = await fit({ ridge: [1e-3] });
      expect(first).toMatchObject({ code: "GRAM_SINGULAR", message: expect.stringContaining("ridge 0.001") });
      await expect(fit({ ridge: [1e-40] })).rejects.toMatchObject({
        code: "MATRIX_NOT_POSITIVE_DEFINITE",
        wanted: expect.stringContaining("1e-40"),
        where: "layers 1, 2",
      });
      await model.close();
    });
  });

  it("says when it got no text", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 2);
      const run = async () => {
        for await (const _ of reconstruct().fit(
          model,
          dropPlan(4, [0, 1]),
          (g) => model.block(g),
          opened([]),
          ctx,
        ));
      };
      await expect(run()).rejects.toMatchObject({ code: "CALIBRATION_EMPTY" });
      await model.close();
    });
  });
});

describe("linear", () => {
  it("leaves the layer before an idle one as it is: the map is the identity", async () => {
    await withModel(families["llama with biases"], async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 2);
      const [, kept] = await repaired(linear({ ridge: [1e-12] }), model, dropPlan(4, [0, 1, 3]));
      const dense = await model.block(1);
      for (const role of ["mlp.down", "mlp.down.bias"]) {
        expect(relativeDifference(values(kept.block, role), values(dense, role))).toBeLessThan(1e-4);
      }
      await model.close();
    });
  });

  it("brings the stream nearer to the dense one, and leaves layers that stand for themselves", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await runnerWithIdleLayer(checkpoint, 3);
      const [first, kept] = await repaired(linear(), model, dropPlan(4, [0, 1, 3]));
      expect(kept.error!.after).toBeLessThan(kept.error!.before);
      expect(first.block.tensors).toEqual((await model.block(0)).tensors);
      await model.close();
    });
  });
});

it("every repair is deterministic", async () => {
  await withModel(llama, async (checkpoint) => {
    const model = await runnerWithIdleLayer(checkpoint, 3);
    const plan = withoutWeights(dropPlan(4, [0, 1, 3]));
    for (const repair of [
      reconstruct({ refineEpochs: 2 }),
      linear(),
      componentFold({ ridge: [1e-4, 1e-2], heldOutEvery: 3 }),
    ]) {
      expect(await repaired(repair, model, plan)).toEqual(await repaired(repair, model, plan));
    }
    await model.close();
  });
});
