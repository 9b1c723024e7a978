import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../open-checkpoint.js";
import { openTokenizer } from "../tokenizer.js";
import { ggufArchitectures } from "./architectures.js";
import { importGguf } from "./import-gguf.js";
import { tensorHashes } from "./tensor-hashes.test.fixture.js";

// Models by transformers 5.24, GGUF files by llama.cpp's own converter: test/golden/make_gguf_architectures.py.
const golden = fileURLToPath(new URL("../../test/golden/gguf/", import.meta.url));
const rows: {
  file: string;
  modelType: string;
  tensors: Record<string, string>;
  samples: [string, number[]][];
}[] = JSON.parse(await readFile(join(golden, "models.json"), "utf8"));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-gguf-"));
});
afterAll(() => rm(folder, { recursive: true }));

it("has a file of every architecture", () => {
  const covered = new Set(rows.map(({ modelType }) => modelType));
  for (const { modelType } of ggufArchitectures) expect(covered).toContain(modelType);
});

describe.each(rows)("$file", ({ file, modelType, tensors, samples }) => {
  const out = () => join(folder, file);
  beforeAll(() => importGguf(join(golden, file), out()));

  it("comes out with the original's tensors, to the bit", async () => {
    const checkpoint = await openCheckpoint(out());
    // llama.cpp runs Mistral as a Llama.
    expect(checkpoint.architecture.modelType).toBe(modelType === "mistral" ? "llama" : modelType);
    const hashes = await tensorHashes(checkpoint);
    await checkpoint.close();
    expect(hashes).toEqual(tensors);
  });

  it("has a tokenizer with the original's ids", async () => {
    const tokenizer = await openTokenizer(out());
    for (const [text, ids] of samples)
      expect(tokenizer.encode(text, { addSpecialTokens: true }), text).toEqual(ids);
  });
});
