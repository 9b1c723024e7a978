import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import {
  contiguousData,
  dropPlan,
  encodeFloats,
  firstOf,
  type Hidden,
  type MergePlan,
  type ModelRunner,
  parsePlan,
  type TokenBatch,
} from "@layerfold/core";
import { openDecoder, openRunner } from "@layerfold/graph";
import { describe, expect, it } from "vitest";
import { type FoldRequest, foldCheckpoint } from "./fold-checkpoint.js";
import { foldedBlocks } from "./folded-blocks.js";
import { foldedRunner } from "./folded-runner.js";
import { planStreams } from "./plan-streams.js";
import { componentFold } from "./repairs/component-fold.js";
import { reconstruct } from "./repairs/reconstruct.js";
import { aligned } from "./strategies/aligned.js";
import { drop } from "./strategies/drop.js";
import { slerp } from "./strategies/slerp.js";
import { tensorwise } from "./strategies/tensorwise.js";
import { ties } from "./strategies/ties.js";
import { weighted } from "./strategies/weighted.js";
import { ctx, families, llama, opened, tokenBatches, withModel } from "./tiny-models.test.fixture.js";

const [batch] = tokenBatches(1, 3, 12);
const mixed = parsePlan({
  version: 1,
  num_hidden_layers: 4,
  groups: [{ layers: [0, 1], weights: [0.75, 0.25] }, { layers: [2] }, { layers: [3] }],
});

/** The stream before the final norm. */
async function finalStream(runner: ModelRunner, tokens: TokenBatch): Promise<Float32Array> {
  let hidden = await runner.embed(tokens);
  for (let layer = 0; layer < runner.layerCount; layer++) ({ hidden } = await runner.runBlock(layer, hidden));
  return hidden.states.data;
}

async function fold(
  checkpoint: Checkpoint,
  plan: MergePlan,
  out: string,
  request: Partial<FoldRequest> = {},
) {
  return foldCheckpoint(checkpoint, plan, { strategy: weighted(), out, ...request }, ctx);
}

describe("foldCheckpoint", () => {
  it("copies what a drop keeps byte for byte, renumbered, and counts what went", async () => {
    await withModel(
      llama,
      async (checkpoint, folder) => {
        const out = join(folder, "out");
        const result = await fold(checkpoint, dropPlan(4, [0, 3]), out);
        const folded = await openCheckpoint(out);
        expect(folded.config.num_hidden_layers).toBe(2);
        for (const [name, stored] of folded.tensors) {
          const from = name.replace("layers.1.", "layers.3.");
          expect(stored.dtype).toBe("bfloat16");
          expect(await folded.readBytes(name)).toEqual(await checkpoint.readBytes(from));
        }
        // One block: q and o 32·32, k and v 16·32, three times 40·32, two norms; embedding 50·32 once (tied) and the final norm.
        const block = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 40 * 32 + 2 * 32;
        const outside = 50 * 32 + 32;
        expect(result.denseParameterCount).toBe(outside + 4 * block);
        expect(result.parameterCount).toBe(outside + 2 * block);
        expect(result.parameterRatio).toBeCloseTo((2 * block) / (outside + 4 * block), 12);
        expect(result.layerRatio).toBe(0.5);
        await folded.close();
      },
      "bfloat16",
    );
  });

  it.each(Object.keys(families))("%s: writes the model that runs in memory", async (name) => {
    await withModel(families[name], async (checkpoint, folder) => {
      const out = join(folder, "out");
      await fold(checkpoint, mixed, out);
      const written = await openCheckpoint(out);
      const reopened = await openRunner(written);
      const inMemory = foldedRunner(
        await openRunner(checkpoint),
        mixed,
        foldedBlocks(checkpoint, mixed, weighted(), ctx),
      );
      expect(await finalStream(reopened, batch)).toEqual(await finalStream(inMemory, batch));
      const decoder = await openDecoder(written);
      const logits = await firstOf(decoder.logits([batch]));
      expect(logits.shape).toEqual([3, 12, 50]);
      await decoder.close();
      await reopened.close();
      await inMemory.close();
      await written.close();
    });
  });

  it("hands on what is asked of a folded model's block", async () => {
    await withModel(llama, async (checkpoint) => {
      const dense = await openRunner(checkpoint);
      let asked: object | undefined;
      const inMemory = foldedRunner(
        { ...dense, runBlock: (...run) => dense.runBlock(run[0], run[1], (asked = run[2])) },
        mixed,
        foldedBlocks(checkpoint, mixed, weighted(), ctx),
      );
      const hidden = await inMemory.embed(batch);
      const { taps } = await inMemory.runBlock(0, hidden, { taps: ["mlp.input"], tapsOnly: true });
      expect(asked).toMatchObject({ taps: ["mlp.input"], tapsOnly: true });
      const whole = await inMemory.runBlock(0, hidden, { taps: ["mlp.input"] });
      expect(taps.get("mlp.input")).toEqual(whole.taps.get("mlp.input"));
      await inMemory.close();
    });
  });

  it.each(Object.keys(families))("%s: silences halves of blocks, before and after a repair", async (name) => {
    await withModel(families[name], async (checkpoint, folder) => {
      const runner = await openRunner(checkpoint);
      const plan = parsePlan({
        version: 1,
        num_hidden_layers: 4,
        groups: [
          { layers: [0] },
          { layers: [1], without: ["attention"] },
          { layers: [2], without: ["mlp"] },
          { layers: [3], without: ["attention", "mlp"] },
        ],
      });
      const calibration = opened(tokenBatches(2, 4, 16));
      for (const request of [{}, { repair: reconstruct(), runner, calibration }]) {
        const out = join(folder, request.repair ? "repaired" : "out");
        const { silentParameterCount, parameterRatio } = await fold(checkpoint, plan, out, request);
        expect(parameterRatio).toBe(0);
        const written = await openCheckpoint(out);
        const { blocks } = checkpoint.architecture;
        const sizes = [...blocks[1].shapes].map(
          ([role, shape]) => [role, shape.reduce((a, b) => a * b)] as const,
        );
        const inside = sizes.reduce((sum, [role, size]) => sum + (/^norm/.test(role) ? 0 : size), 0);
        // One attention and one MLP, and both of another layer.
        expect(silentParameterCount).toBe(2 * inside);
        const reopened = await openRunner(written);
        const taps = ["attention.update", "mlp.update"] as const;
        let hidden = await reopened.embed(batch);
        const silent: boolean[][] = [];
        for (let layer = 0; layer < 4; layer++) {
          const run = await reopened.runBlock(layer, hidden, { taps });
          silent.push(taps.map((tap) => run.taps.get(tap)!.data.every((x) => x === 0)));
          hidden = run.hidden;
        }
        expect(silent).toEqual([
          [false, false],
          [true, false],
          [false, true],
          [true, true],
        ]);
        await reopened.close();
        await written.close();
      }
      await runner.close();
    });
  });

  it("writes a mean in the checkpoint's own element type, norms too", async () => {
    await withModel(
      llama,
      async (checkpoint, folder) => {
        const out = join(folder, "out");
        await fold(checkpoint, mixed, out);
        const folded = await openCheckpoint(out);
        for (const part of ["input_layernorm", "mlp.down_proj"]) {
          const name = (layer: number) => `model.layers.${layer}.${part}.weight`;
          const [a, b, mean] = [
            (await checkpoint.read(name(0))).data,
            (await checkpoint.read(name(1))).data,
            (await folded.read(name(0))).data,
          ];
          // bfloat16 keeps 8 significant bits.
          mean.forEach((value, i) => {
            const exact = 0.75 * a[i] + 0.25 * b[i];
            expect(Math.abs(value - exact)).toBeLessThanOrEqual(2 ** -8 * Math.abs(exact));
          });
        }
        await folded.close();
      },
      "bfloat16",
    );
  });

  it("spreads repaired blocks over shards and leaves nothing beside them", async () => {
    await withModel(llama, async (checkpoint, folder) => {
      const out = join(folder, "out");
      const runner = await openRunner(checkpoint);
      const calibration = opened(tokenBatches(2, 4, 16));
      const repair = { repair: reconstruct(), runner, calibration, maxShardBytes: 30_000 };
      const plan = dropPlan(4, [0, 1, 3]);
      const result = await fold(checkpoint, plan, out, repair);
      expect(result.errors.map(({ index }) => index)).toEqual([0, 1, 2]);
      expect(result.errors[1].after).toBeLessThan(result.errors[1].before);
      expect((await readdir(folder)).sort()).toEqual(["dense", "out"]);
      const folded = await openCheckpoint(out);
      expect(result.files.filter((file) => file.endsWith(".safetensors")).length).toBeGreaterThan(1);
      await folded.close();
      await runner.close();
    });
  });

  it("refuses a plan for another model, unlike layers, a repair without text, and a full folder", async () => {
    const config = {
      ...families.qwen2,
      layer_types: ["full_attention", "sliding_attention", "full_attention", "full_attention"],
      sliding_window: 4,
      use_sliding_window: true,
    };
    await withModel(config, async (checkpoint, folder) => {
      const out = join(folder, "out");
      const code = (plan: MergePlan, request?: Partial<FoldRequest>) =>
        fold(checkpoint, plan, out, request).then(
          () => "folded",
          (error) => error.code,
        );
      expect(await code(dropPlan(5, [0, 1]))).toBe("PLAN_MISMATCH");
      expect(await code({ ...mixed, groups: mixed.groups.slice(1) })).toBe("PLAN_INVALID");
      expect(await code(mixed)).toBe("LAYERS_INCOMPATIBLE");
      expect(await code(dropPlan(4, [0, 2]), { repair: reconstruct() })).toBe("REPAIR_INCOMPLETE");
      expect(await readdir(folder)).toEqual(["dense"]);
      // A drop mixes nothing, so layers of different kinds may go together.
      expect(await code(dropPlan(4, [0, 2]))).toBe("folded");
      expect(await code(dropPlan(4, [0, 2]))).toBe("OUTPUT_EXISTS");
      expect(await code(dropPlan(4, [0, 2]), { force: true })).toBe("folded");
    });
  });

  it.each([
    ["reconstruct", reconstruct()],
    ["component-fold", componentFold({ refineEpochs: 1, heldOutEvery: 2 })],
  ])("goes on with %s where it was broken off, to the same bytes", async (_, repair) => {
    await withModel(
      llama,
      async (checkpoint, folder) => {
        const runner = await openRunner(checkpoint);
        const plan = parsePlan({
          version: 1,
          num_hidden_layers: 4,
          groups: [{ layers: [0] }, { layers: [1, 2], weights: [1, 0] }, { layers: [3] }],
        });
        const batches = tokenBatches(4, 4, 12);
        const runs: number[] = [];
        const watched = {
          ...runner,
          runBlock: (...given: Parameters<ModelRunner["runBlock"]>) => {
            runs[runs.length - 1]++;
            return runner.runBlock(...given);
          },
        };
        const foldTo = (out: string, unfinished?: string, breakAfter = Number.POSITIVE_INFINITY) => {
          const interruption = new AbortController();
          runs.push(0);
          return foldCheckpoint(
            checkpoint,
            plan,
            {
              strategy: drop(),
              repair,
              runner: watched,
              calibration: async function* () {
                yield* batches;
              },
              out: join(folder, out),
              unfinished: unfinished && join(folder, unfinished),
            },
            {
              ...ctx,
              signal: interruption.signal,
              report(event) {
                if (event.type === "progress" && event.stage === "repair" && event.done === breakAfter) {
                  interruption.abort();
                }
              },
            },
          );
        };
        const whole = await foldTo("whole");
        await expect(foldTo("resumed", "blocks", 2)).rejects.toMatchObject({ code: "INTERRUPTED" });
        expect((await readdir(folder)).sort()).toEqual(["blocks", "dense", "whole"]);
        expect((await readdir(join(folder, "blocks"))).sort()).toEqual(["0.safetensors", "1.safetensors"]);
        const resumed = await foldTo("resumed", "blocks");
        expect(runs[2]).toBeLessThan(runs[0]);
        expect(resumed.errors).toEqual(whole.errors);
        const bytes = (out: string) => readFile(join(folder, out, "model.safetensors"));
        expect((await bytes("resumed")).equals(await bytes("whole"))).toBe(true);
        await runner.close();
      },
      "bfloat16",
    );
  });

  it.each([weighted(), aligned(), ties(), slerp()])("refuses to merge NaN: $id", async (strategy) => {
    await withModel(llama, async (checkpoint, folder) => {
      const name = "model.layers.1.mlp.down_proj.weight";
      const { file, byteOffset, shape } = checkpoint.tensors.get(name)!;
      const handle = await open(file, "r+");
      await handle.write(
        encodeFloats(Float32Array.of(Number.NaN), "float32"),
        0,
        4,
        byteOffset + 4 * (shape[1] + 2),
      );
      await handle.close();
      await expect(fold(checkpoint, mixed, join(folder, "out"), { strategy })).rejects.toMatchObject({
        code: "WEIGHT_NOT_FINITE",
        got: "NaN at [1, 2]",
        where: name,
      });
      expect(await readdir(folder)).toEqual(["dense"]);
    });
  });

  it("refuses values that the element type cannot hold", async () => {
    await withModel(
      llama,
      async (checkpoint, folder) => {
        const large = { ...ties(), merge: tensorwise(([first]) => first.map(() => 1e6)) };
        await expect(fold(checkpoint, mixed, join(folder, "out"), { strategy: large })).rejects.toMatchObject(
          {
            code: "TENSOR_NOT_FINITE",
          },
        );
        expect(await readdir(folder)).toEqual(["dense"]);
      },
      "float16",
    );
  });
});

describe("planStreams", () => {
  it("gives each plan's own streams, and runs only what differs from the plan before", async () => {
    await withModel(llama, async (checkpoint) => {
      const runner = await openRunner(checkpoint);
      let runs = 0;
      const counted: ModelRunner = {
        ...runner,
        runBlock: (...given) => {
          runs++;
          return runner.runBlock(...given);
        },
      };
      const batches = tokenBatches(2, 2, 8);
      const streams = planStreams(counted, batches, undefined, ctx);
      const cases: [kept: number[], runs: number][] = [
        [[0, 1, 2, 3], 8],
        [[0, 1, 2], 0],
        [[0, 1, 3], 2],
        [[0, 2, 3], 4],
        [[1, 2, 3], 6],
      ];
      for (const [kept, wanted] of cases) {
        runs = 0;
        expect(await streams.run(dropPlan(4, kept))).toBe(kept.length - wanted / 2);
        expect(runs).toBe(wanted);
        const result: Hidden[] = [];
        for await (const hidden of streams.behind(kept.length - 1)) result.push(hidden);
        for (const [index, tokens] of batches.entries()) {
          let hidden = await runner.embed(tokens);
          for (const layer of kept) ({ hidden } = await runner.runBlock(layer, hidden));
          expect(contiguousData(result[index].states)).toEqual(hidden.states.data);
        }
      }
      // A plan's first groups alone, and what was left of them.
      runs = 0;
      expect(await streams.run(dropPlan(4, [1, 2, 3]), 1)).toBe(3);
      expect(await streams.run(dropPlan(4, [0, 2, 3]), 2)).toBe(0);
      expect(runs).toBe(4);
      expect(await streams.run(dropPlan(4, [0, 2, 3]))).toBe(2);
      expect(runs).toBe(6);
      await streams.close();
      await runner.close();
    });
  });
});
