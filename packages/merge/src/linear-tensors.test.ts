import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Checkpoint, openCheckpoint, randomTensors, writeCheckpoint } from "@layerfold/checkpoint";
import {
  contiguousData,
  type DType,
  decodeFloats,
  encodeFloats,
  type MergePlan,
  type MergeStrategy,
  parsePlan,
} from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { mountedDisk } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { foldCheckpoint } from "./fold-checkpoint.js";
import { foldedBlocks } from "./folded-blocks.js";
import { linearTerms } from "./linear-tensors.js";
import { breadcrumbs } from "./strategies/breadcrumbs.js";
import { dare } from "./strategies/dare.js";
import { differenceSum } from "./strategies/difference-sum.js";
import { drop } from "./strategies/drop.js";
import { slerp } from "./strategies/slerp.js";
import { taskArithmetic } from "./strategies/task-arithmetic.js";
import { ties } from "./strategies/ties.js";
import { weighted } from "./strategies/weighted.js";
import { ctx, families, llama, withModel } from "./tiny-models.test.fixture.js";

const planOf = (...groups: MergePlan["groups"][number][]) =>
  parsePlan({ version: 1, num_hidden_layers: groups.flatMap(({ layers }) => layers).length, groups });
const plans = {
  "two and two": planOf({ layers: [0, 1], weights: [0.7, 0.3] }, { layers: [2, 3], weights: [0.25, 0.75] }),
  "three, one of weight 0": planOf({ layers: [0, 1, 2], weights: [0.6, 0, 0.4] }, { layers: [3] }),
  "without weights": planOf({ layers: [0] }, { layers: [1, 2, 3] }),
  silenced: planOf(
    { layers: [0], without: ["attention"] },
    { layers: [1], without: ["mlp"] },
    { layers: [2], without: ["attention", "mlp"] },
    { layers: [3] },
  ),
};

/** A checkpoint of which no block can be read whole. */
function withoutBlocks(checkpoint: Checkpoint): Checkpoint {
  return { ...checkpoint, block: () => Promise.reject(new Error("a block was read whole")) };
}

/** Merges through `merge` alone. */
const whole = (strategy: MergeStrategy): MergeStrategy => ({
  ...strategy,
  coefficients: undefined,
  tensorwise: false,
});

async function folded(checkpoint: Checkpoint, plan: MergePlan, strategy: MergeStrategy, out: string) {
  await foldCheckpoint(checkpoint, plan, { strategy, out, force: true }, ctx);
  return readFile(join(out, "model.safetensors"));
}

describe("a fold piece by piece", () => {
  it.each(Object.keys(families))("%s: writes the bytes of blocks that are merged whole", async (family) => {
    for (const dtype of ["bfloat16", "float16", "float32"] as const) {
      await withModel(
        families[family],
        async (checkpoint, folder) => {
          for (const plan of Object.values(plans)) {
            await folded(withoutBlocks(checkpoint), plan, weighted(), join(folder, "out"));
            const written = await openCheckpoint(join(folder, "out"));
            const blockOf = foldedBlocks(checkpoint, plan, weighted(), ctx);
            for (const [index, { tensors }] of written.architecture.blocks.entries()) {
              const block = await blockOf(index);
              for (const [role, name] of tensors) {
                const wanted = encodeFloats(contiguousData(block.tensors.get(role)!), dtype);
                expect(Buffer.compare(await written.readBytes(name), wanted)).toBe(0);
              }
            }
            await written.close();
          }
        },
        dtype,
      );
    }
  });

  it("leaves a silenced block's other tensors as they are, and makes its outputs positive zeros", async () => {
    await withModel(
      llama,
      async (checkpoint, folder) => {
        await folded(withoutBlocks(checkpoint), plans.silenced, weighted(), join(folder, "out"));
        const written = await openCheckpoint(join(folder, "out"));
        for (const name of written.tensors.keys()) {
          const bytes = await checkpoint.readBytes(name);
          const silent = /layers\.[02].*o_proj|layers\.[12].*down_proj/.test(name);
          expect(await written.readBytes(name)).toEqual(silent ? new Uint8Array(bytes.length) : bytes);
        }
        await written.close();
      },
      "bfloat16",
    );
  });

  it.each([
    ["weighted, fixed", weighted({ weighting: "fixed", ratio: 0.3 })],
    ["weighted, first norms", weighted({ norms: "keep" })],
    ["drop", drop()],
    ["drop, the first", drop({ keep: "first" })],
    ["difference-sum, telescoping", differenceSum({ reading: "telescoping" })],
  ])("%s: the same bytes", async (_, strategy) => {
    await withModel(
      families.phi3,
      async (checkpoint, folder) => {
        const wanted = await folded(checkpoint, plans["two and two"], whole(strategy), join(folder, "other"));
        const got = await folded(
          withoutBlocks(checkpoint),
          plans["two and two"],
          strategy,
          join(folder, "out"),
        );
        expect(got.equals(wanted)).toBe(true);
      },
      "float16",
    );
  });

  it.each([
    ["dare", dare()],
    ["ties", ties()],
    ["slerp", slerp()],
    ["breadcrumbs", breadcrumbs()],
    ["task-arithmetic", taskArithmetic()],
    ["difference-sum", differenceSum()],
    ["weighted, first norms", { ...weighted({ norms: "keep" }), coefficients: undefined }],
  ])("%s: the same bytes, from blocks that are never whole", async (_, strategy) => {
    await withModel(
      families.gpt2,
      async (checkpoint, folder) => {
        const wanted = await folded(checkpoint, plans["two and two"], whole(strategy), join(folder, "other"));
        const got = await folded(
          withoutBlocks(checkpoint),
          plans["two and two"],
          strategy,
          join(folder, "out"),
        );
        expect(got.equals(wanted)).toBe(true);
      },
      "bfloat16",
    );
  });

  it("has edges between pieces that cannot be seen, layers of several element types too", async () => {
    // 9001 · 256 values: a float32 tensor of more than two pieces, and no edge at the end of a row.
    const config = {
      ...llama,
      num_hidden_layers: 2,
      hidden_size: 256,
      intermediate_size: 9001,
      vocab_size: 12000,
    };
    const folder = await mkdtemp(join(tmpdir(), "layerfold-linear-"));
    try {
      for (const [first, second] of [
        ["bfloat16", "float32"],
        ["float32", "float16"],
      ] as [DType, DType][]) {
        const tensors = randomTensors(config, seededRng(3), first).map((source, i) =>
          source.name.startsWith("model.layers.1.") ? randomTensors(config, seededRng(3), second)[i] : source,
        );
        await writeCheckpoint(join(folder, "dense"), { config, tensors, force: true });
        const checkpoint = await openCheckpoint(join(folder, "dense"));
        const plan = planOf({ layers: [0, 1], weights: [0.7, 0.3] });
        const wanted = await folded(checkpoint, plan, whole(weighted()), join(folder, "other"));
        const got = await folded(withoutBlocks(checkpoint), plan, weighted(), join(folder, "out"));
        expect(got.equals(wanted)).toBe(true);
        await checkpoint.close();
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("says of values that do not fit what a whole merge says, and takes those that round to what fits", async () => {
    const name = "model.layers.1.mlp.down_proj.weight";
    const other = name.replace("1", "0");
    for (const dtype of ["float16", "bfloat16"] as const) {
      const largest = dtype === "float16" ? 65504 : 2 ** 127 * (2 - 2 ** -7);
      const folder = await mkdtemp(join(tmpdir(), "layerfold-linear-"));
      const tensors = randomTensors(llama, seededRng(3), dtype).map((source) => ({
        ...source,
        async bytes() {
          const values = decodeFloats(await source.bytes(), dtype);
          if (source.name === name || source.name === other) values[41] = largest;
          return encodeFloats(values, dtype);
        },
      }));
      await writeCheckpoint(join(folder, "dense"), { config: llama, tensors });
      const checkpoint = await openCheckpoint(join(folder, "dense"));
      const foldBy = (share: number, strategy: MergeStrategy) => {
        const plan = planOf(
          { layers: [0, 1], weights: [0.5 + share, 0.5] },
          { layers: [2] },
          { layers: [3] },
        );
        return folded(checkpoint, plan, strategy, join(folder, "out")).catch(({ code, got, where }) => ({
          code,
          got,
          where,
        }));
      };
      // Weights may sum to 1 but for 1e-6: the largest and a little more rounds to the largest.
      expect(await foldBy(0, weighted())).toEqual(await foldBy(0, whole(weighted())));
      expect(await foldBy(5e-7, weighted())).toEqual(await foldBy(5e-7, whole(weighted())));
      const doubled: MergeStrategy = {
        ...weighted(),
        coefficients: () => [1, 1],
        merge: async (blocks, weights, run) => {
          const merged = await weighted().merge(blocks, weights, run);
          const twice = [...merged.tensors].map(
            ([role]) =>
              [
                role,
                {
                  ...blocks[0].tensors.get(role)!,
                  data: contiguousData(blocks[0].tensors.get(role)!).map(
                    (x: number, i: number) => x + contiguousData(blocks[1].tensors.get(role)!)[i],
                  ),
                },
              ] as const,
          );
          return { ...merged, tensors: new Map(twice) };
        },
      };
      const refused = await foldBy(0, doubled);
      expect(refused).toMatchObject({ code: "TENSOR_NOT_FINITE", where: "layer 0, mlp.down" });
      expect(refused).toEqual(await foldBy(0, whole(doubled)));
      expect((await readdir(folder)).sort()).toEqual(["dense", "out"]);
      await checkpoint.close();
      await rm(folder, { recursive: true });
    }
  });

  it("gives way to whole blocks where layers differ, or weights are codes", async () => {
    await withModel(llama, async (checkpoint) => {
      const [group] = plans["two and two"].groups;
      expect(linearTerms(checkpoint, group, weighted())?.size).toBe(9);
      expect(linearTerms(checkpoint, group, weighted({ norms: "fold" }))).toBeUndefined();
      expect(
        linearTerms({ ...checkpoint, config: { ...llama, quantization_config: {} } }, group, weighted()),
      ).toBeUndefined();
      const name = "model.layers.1.mlp.up_proj.weight";
      const stored = checkpoint.tensors.get(name)!;
      for (const other of [
        { ...stored, dtype: "int8" as const },
        { ...stored, shape: [1, 1] },
      ]) {
        const tensors = new Map([...checkpoint.tensors, [name, other]]);
        expect(linearTerms({ ...checkpoint, tensors }, group, weighted())).toBeUndefined();
      }
      const wrong = { layers: [0, 1], weights: [0.5, 0.6] };
      expect(() => linearTerms(checkpoint, wrong, weighted())).toThrow(
        expect.objectContaining({ code: "WEIGHTS_SUM" }),
      );
    });
  });
});

describe("a fold that is broken off", () => {
  it("by a kill leaves no folder of that name, and the next one sweeps up", async () => {
    await withModel(llama, async (checkpoint, folder) => {
      const out = join(folder, "out");
      // Killed while the first pieces are written.
      const script = `
        import { openCheckpoint } from "@layerfold/checkpoint";
        import { parsePlan } from "@layerfold/core";
        import { foldCheckpoint, weighted } from "@layerfold/merge";
        const checkpoint = await openCheckpoint(${JSON.stringify(checkpoint.directory)});
        const report = () => process.kill(process.pid, "SIGKILL");
        const plan = parsePlan(${JSON.stringify(plans["two and two"])});
        await foldCheckpoint(checkpoint, plan, { strategy: weighted(), out: ${JSON.stringify(out)} }, { report });
      `;
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
        cwd: new URL("..", import.meta.url),
        stdio: "inherit",
      });
      const signal = await new Promise((resolve) => child.on("exit", (_, by) => resolve(by)));
      expect(signal).toBe("SIGKILL");
      const names = (await readdir(folder)).sort();
      expect(names).toEqual([expect.stringMatching(/^\.out\.layerfold-.*\.tmp$/), "dense"]);
      await folded(checkpoint, plans["two and two"], weighted(), out);
      expect((await readdir(folder)).sort()).toEqual(["dense", "out"]);
    });
  });

  it("by a full disk says so, and leaves nothing there", async (context) => {
    const disk = mountedDisk("size=64k");
    if (!disk) return context.skip();
    try {
      await withModel(llama, async (checkpoint) => {
        for (const weights of [
          [1, 0],
          [0.5, 0.5],
        ]) {
          const plan = planOf({ layers: [0, 1], weights }, { layers: [2] }, { layers: [3] });
          const full = folded(checkpoint, plan, weighted(), join(disk.folder, "out"));
          await expect(full).rejects.toMatchObject({ code: "DISK_FULL" });
          expect(await readdir(disk.folder)).toEqual([]);
        }
      });
    } finally {
      disk.unmount();
    }
  });
});
