import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { batchesOf, ctx, fakeSource } from "./capture.test.fixture.js";
import { captureActivations } from "./capture-activations.js";
import { loadActivations, saveActivations } from "./recording.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "recording-"));
});
afterAll(() => rm(folder, { recursive: true }));

const meta = { model: "ab", calibration: "cd", pooling: "all" };
const source = fakeSource(3, 4, (depth, v) => [v, depth, v * depth, 1 / 3]);

describe("a recording", () => {
  it("gives back every bit that was saved", async () => {
    const directory = join(folder, "some", "where");
    const activations = await captureActivations(source, batchesOf([[1, 2, 3]]), { pooling: "all" }, ctx);
    await saveActivations(directory, activations, meta);
    const loaded = await loadActivations(directory);
    expect(loaded.meta).toEqual(meta);
    expect(loaded.activations.statistics.norm).toEqual(activations.statistics.norm);
    for (const name of ["cosine", "angle"] as const) {
      expect(loaded.activations.statistics[name].data).toEqual(activations.statistics[name].data);
    }
    expect(loaded.activations.statistics).toMatchObject({ layerCount: 3, tokenCount: 3 });
    expect(loaded.activations.layers.map((m) => m.data)).toEqual(activations.layers.map((m) => m.data));
    expect(loaded.activations.layers.map((m) => m.shape)).toEqual([
      [3, 4],
      [3, 4],
      [3, 4],
    ]);
  });

  it("is refused when its header is missing, is not JSON or does not fit the tensors", async () => {
    await expect(loadActivations(folder)).rejects.toMatchObject({ code: "RECORDING_MISSING" });
    const directory = join(folder, "broken");
    const activations = await captureActivations(source, batchesOf([[1, 2]]), { pooling: "last" }, ctx);
    await saveActivations(directory, activations, meta);
    const header = join(directory, "activations.json");
    const text = await readFile(header, "utf8");
    await writeFile(header, text.replace('"sample_count": 1', '"sample_count": 2'));
    await expect(loadActivations(directory)).rejects.toMatchObject({ code: "RECORDING_INVALID" });
    await writeFile(header, text.slice(1));
    await expect(loadActivations(directory)).rejects.toMatchObject({ code: "RECORDING_INVALID" });
  });
});
