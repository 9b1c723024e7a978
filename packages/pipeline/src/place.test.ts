import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dropPlan } from "@layerfold/core";
import { checkpoint, data } from "@layerfold/foldling";
import { deviceName } from "@layerfold/onnx";
import { softwareGpu } from "@layerfold/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runWith } from "./grid/run-grid.js";
import { placedDigest, placeOf } from "./place.js";
import type { Recipe } from "./recipe/recipe-schema.js";
import { createRun } from "./run.js";
import { compress } from "./stages/compress.js";
import { captureOf } from "./stages/workbench.js";
import { givenModel } from "./tasks/stored-model.js";

it("refuses a device that there is not", () => {
  expect(() => createRun({ device: "metal" as never })).toThrow(
    expect.objectContaining({ code: "OPTION_INVALID", wanted: "cpu, webgpu, cuda", got: "metal" }),
  );
  expect(placeOf({ device: undefined, allowFallback: false })).toEqual({});
});

it("what a device finds out has another digest; the CPU's is as it was", async () => {
  expect(placedDigest("a model", {})).toBe("a model");
  expect(placedDigest("a model", { device: "cpu" })).toBe("a model");
  const places = [
    {},
    { device: "webgpu" },
    { device: "cuda" },
    { device: "cuda", allowFallback: true },
  ] as const;
  const text = [{ ids: Int32Array.of(1, 2, 3), scoredFrom: 1 }];
  const digests = places.map((place) => {
    const model = givenModel("folder", "a model", place);
    return captureOf({ model, pooling: "last", run: createRun() }, text).digest;
  });
  expect(new Set(digests).size).toBe(places.length);
  expect(await givenModel("folder", "a model", places[1]).read()).toEqual({
    directory: "folder",
    place: places[1],
  });
});

it("a recipe's device holds where the run names none", () => {
  const recipe = { model: "m", device: "webgpu", allow_fallback: true } as Recipe;
  expect(runWith(recipe, createRun()).place).toEqual({ device: "webgpu", allowFallback: true });
  expect(runWith(recipe, createRun({ device: "cpu" })).place).toEqual({ device: "cpu" });
  expect(runWith({ model: "m" } as Recipe, createRun({ device: "cuda" })).place).toEqual({ device: "cuda" });
});

describe.skipIf(!softwareGpu())("on WebGPU, in software", () => {
  let folder: string;
  beforeAll(async () => {
    softwareGpu();
    folder = await mkdtemp(join(tmpdir(), "layerfold-place-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it("folds and measures as the CPU does, and serves none of its figures", async () => {
    const plan = join(folder, "plan.json");
    await writeFile(plan, JSON.stringify(dropPlan(16, [0, 15])));
    const request = (out: string) => ({
      model: checkpoint,
      layers: [2],
      method: "drop",
      planner: plan,
      evaluate: [`${join(data, "validation.jsonl")}[0:1]`],
      out: join(folder, out),
    });
    const work = { store: join(folder, "work"), keepWork: true };
    const onCpu = await compress(request("cpu"), work);
    const onGpu = await compress(request("webgpu"), { ...work, device: "webgpu" });
    // The text alone.
    expect(onGpu.tasks.found).toBe(1);
    onGpu.rows.forEach(({ perplexity }, row) => {
      const wanted = onCpu.rows[row].perplexity!;
      expect(Math.abs(Math.log(perplexity! / wanted))).toBeLessThan(1e-3);
    });
    const again = await compress(request("again"), { ...work, device: "webgpu" });
    expect(again.tasks.made).toBe(0);
    expect(again.rows).toEqual(onGpu.rows);
    const manifest = async (name: string) =>
      JSON.parse(await readFile(join(folder, name, "manifest.json"), "utf8"));
    expect(await manifest("cpu")).not.toHaveProperty("device");
    expect((await manifest("cpu")).recipe).not.toHaveProperty("device");
    expect(await manifest("webgpu")).toMatchObject({
      device: deviceName({ device: "webgpu" }),
      recipe: { device: "webgpu" },
    });
  });
});
