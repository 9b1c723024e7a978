import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { importGguf, openCheckpoint, openTokenizer, readDocuments } from "@layerfold/checkpoint";
import { data, checkpoint as foldling } from "@layerfold/foldling";
import { openRunner } from "@layerfold/graph";
import { inputSquares, quantizeCheckpoint, schemeOf } from "@layerfold/quantize";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eachBatch } from "../inputs/open-model.js";
import { createRun } from "../run.js";
import { exportGguf } from "./export-gguf.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-export-"));
});
afterAll(() => rm(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

it("writes a file with its manifest, and replaces what it wrote and nothing else", async () => {
  const out = at("foldling.gguf");
  const written = await exportGguf({ model: foldling, out });
  expect(written).toMatchObject({ file: out, types: { F16: 113, F32: 33 } });
  const manifest = JSON.parse(await readFile(at("foldling.manifest.json"), "utf8"));
  expect(manifest).toMatchObject({
    command: "export",
    arguments: { target: "gguf" },
    model: { name: "foldling" },
    files: [{ name: "foldling.gguf" }],
  });
  await exportGguf({ model: foldling, type: "q8_0", out });
  await writeFile(out, "a letter");
  await expect(exportGguf({ model: foldling, out })).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
  expect(await readFile(out, "utf8")).toBe("a letter");
});

/** Sum of squares by which a map errs, on inputs of these mean squares that have nothing to do with one another. */
async function outputError(file: string, tensor: string, squares: (column: number) => number) {
  await importGguf(file, `${file}.back`);
  const [got, wanted] = await Promise.all([openCheckpoint(`${file}.back`), openCheckpoint(foldling)]);
  const [{ data: a }, { data: b, shape }] = [await got.read(tensor), await wanted.read(tensor)];
  await Promise.all([got.close(), wanted.close()]);
  return a.reduce((sum, value, i) => sum + squares(i % shape[1]) * (value - b[i]) ** 2, 0);
}

it("weighs errors by what a calibration text shows", async () => {
  const request = { model: foldling, type: "q4_0" } as const;
  await exportGguf({ ...request, out: at("plain.gguf") });
  const calibration = join(data, "calibration.jsonl");
  await exportGguf({ ...request, calibration, calibrationTokens: 2048, out: at("weighed.gguf") });
  const checkpoint = await openCheckpoint(foldling);
  const tokenizer = await openTokenizer(foldling);
  const runner = await openRunner(checkpoint);
  const documents = await readDocuments(join(data, "validation.jsonl"));
  const other = documents.kind === "documents" ? documents.texts.slice(0, 8) : [];
  const batches = eachBatch(
    other.map((text) => ({ ids: Int32Array.from(tokenizer.encode(text).slice(0, 256)), scoredFrom: 0 })),
  );
  const importance = await inputSquares(checkpoint, runner, batches, createRun().ctx);
  await runner.close();
  await checkpoint.close();
  const tensor = "model.layers.8.mlp.down_proj.weight";
  const squares = importance.get(tensor)!;
  expect(importance.size).toBe(16 * 7);
  expect(squares).toHaveLength(384);
  const [plain, weighed] = [
    await outputError(at("plain.gguf"), tensor, (column) => squares[column]),
    await outputError(at("weighed.gguf"), tensor, (column) => squares[column]),
  ];
  // Of another text than the calibration's.
  expect(weighed).toBeLessThan(0.97 * plain);
});

it("dequantises a quantised checkpoint as it is read, and says so", async () => {
  const checkpoint = await openCheckpoint(foldling);
  const scheme = schemeOf("rtn-w4g32", { dtype: checkpoint.dtype });
  await quantizeCheckpoint(checkpoint, undefined, at("w4"), { scheme }, createRun().ctx);
  await checkpoint.close();
  const said: string[] = [];
  const report = (event: { type: string; message?: string }) => {
    if (event.type === "status") said.push(event.message!);
  };
  await exportGguf({ model: at("w4"), type: "f32", out: at("w4.gguf") }, { report });
  expect(said).toEqual([expect.stringMatching(/w4 is quantised: its weights are dequantised/)]);
  expect((await readdir(folder)).filter((name) => name.includes(".tmp"))).toEqual([]);
});
