import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunContext } from "@layerfold/core";
import { checkpoint, data } from "@layerfold/foldling";
import { preset } from "@layerfold/merge";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createRun, type Run } from "../run.js";
import { type CompressRequest, compress, compressPlans } from "./compress.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "compress-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A quiet run whose reports are listened to. */
function heard(report: RunContext["report"], signal?: AbortSignal): Run {
  return createRun({ ...(report && { report }), ...(signal && { signal }) });
}

/** A run that is interrupted once progress of a stage has come so many times. */
function broken(stage: string, times: number): Run {
  const interruption = new AbortController();
  let seen = 0;
  return heard((event) => {
    if (event.type === "progress" && event.stage === stage && ++seen === times) interruption.abort();
  }, interruption.signal);
}

it("goes on where it was interrupted: the same plans, weights and figures, and nothing left behind", async () => {
  const request = (name: string): CompressRequest => ({
    model: checkpoint,
    layers: [15, 14],
    method: {
      ...preset("sleb"),
      repair: { id: "channel-scale" },
    },
    calibration: `${join(data, "calibration.jsonl")}[0:6]`,
    planningTokens: 64,
    evaluate: [`${join(data, "validation.jsonl")}[0:2]`],
    out: join(folder, name),
  });
  const whole = await compress(request("whole"), createRun());
  // In the second fold's repair, whose first 5 blocks are done.
  await expect(compress(request("resumed"), broken("repair", 15 + 5))).rejects.toMatchObject({
    code: "INTERRUPTED",
  });
  expect((await readdir(folder)).sort()).toEqual(["resumed.work", "whole"]);
  const repaired: number[] = [];
  const resumed = await compress(
    request("resumed"),
    heard((event) => {
      if (event.type === "progress" && event.stage === "repair") repaired.push(event.total);
    }),
  );
  // The first fold was not made again.
  expect(new Set(repaired)).toEqual(new Set([14]));
  expect((await readdir(folder)).sort()).toEqual(["resumed", "whole"]);

  expect(resumed.plans).toEqual(whole.plans);
  expect(resumed.rows).toEqual(whole.rows);
  expect(resumed.notes).toEqual(whole.notes);
  expect(whole.tasks.found).toBe(0);
  // Both plans, with all that they were made from, and the first fold.
  expect(resumed.tasks.found).toBeGreaterThan(3);
  expect(resumed.tasks.made).toBeLessThan(whole.tasks.made);
  const files = await readdir(join(folder, "whole"), { recursive: true });
  expect(await readdir(join(folder, "resumed"), { recursive: true })).toEqual(files);
  for (const file of files) {
    const path = (name: string) => join(folder, name, file);
    if ((await stat(path("whole"))).isDirectory()) continue;
    expect((await readFile(path("resumed"))).equals(await readFile(path("whole"))), file).toBe(true);
  }
});

it("leaves the picture out, and says so, where there are too few samples for it and no plan hangs on it", async () => {
  const request = (method: string): CompressRequest => ({
    model: checkpoint,
    layers: [15],
    // The diffusion map before MKA's measure wants more samples than coordinates.
    method: { ...preset(method), embedding: { id: "diffusion-map" } },
    calibration: `${join(data, "calibration.jsonl")}[0:2]`,
    out: join(folder, "two-samples"),
  });
  const { notes } = await compress(request("shortgpt"), createRun());
  expect(notes.join("\n")).toContain("no picture of the layers' similarity: too few samples");
  const files = await readdir(join(folder, "two-samples"));
  expect(files).toEqual(expect.arrayContaining(["model.safetensors", "report.html", "plan.json"]));
  expect(files).not.toContain("similarity.json");
  await expect(compress({ ...request("mka"), force: true }, createRun())).rejects.toMatchObject({
    code: "DIMENSIONS_TOO_MANY",
  });
});

it("plans weigh recalled tokens as the preset says, unless the request says otherwise", async () => {
  const judged = async (ofPreset?: number, ofRequest?: number) => {
    const said: string[] = [];
    const { recallWeight: _, ...layerfold } = preset("layerfold");
    const request: CompressRequest = {
      model: checkpoint,
      layers: [15],
      method: {
        ...layerfold,
        planner: { id: "best-partition", options: { firstLayer: 13 } },
        repair: { id: "reconstruct" },
        ...(ofPreset !== undefined && { recallWeight: ofPreset }),
      },
      recallWeight: ofRequest,
      calibration: `${join(data, "calibration.jsonl")}[0:8]`,
    };
    await compressPlans(
      request,
      heard((event) => {
        if (event.type === "diagnostic" && event.code === "GROUPS_JUDGED") said.push(event.message);
      }),
    );
    expect(said).toHaveLength(1);
    return said[0];
  };
  const [plain, weighed] = [await judged(), await judged(undefined, 1)];
  expect(weighed).not.toBe(plain);
  expect(await judged(1)).toBe(weighed);
  expect(await judged(1, 0)).toBe(plain);
});

it("captures the whole calibration text only for planners that look at it, else what the report's picture takes", async () => {
  const captured = async (method: string) => {
    const totals = new Set<number>();
    const request: CompressRequest = {
      model: checkpoint,
      layers: [15],
      method,
      calibration: join(data, "calibration.jsonl"),
      planningTokens: 64,
      out: join(folder, method),
    };
    await compress(
      request,
      heard((event) => {
        if (event.type === "progress" && event.stage === "capture") totals.add(event.total);
      }),
    );
    const written = async (file: string) => JSON.parse(await readFile(join(folder, method, file), "utf8"));
    expect((await written("similarity.json")).matrix).toHaveLength(16);
    expect(totals.size).toBe(1);
    return { tokens: [...totals][0], of: (await written("manifest.json")).data.calibration[0].tokens };
  };
  const shown = await captured("sleb");
  expect(shown.of).toBeGreaterThan(18_000);
  expect(shown.tokens).toBeGreaterThan(15_000);
  expect(shown.tokens).toBeLessThan(17_000);
  const seen = await captured("shortgpt");
  expect(seen.tokens).toBe(seen.of);
});
