import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../open-checkpoint.js";
import { openTokenizer } from "../tokenizer.js";
import { ggufArchitectures } from "./architectures.js";
import { importGguf } from "./import-gguf.js";
import { readGguf } from "./read-gguf.js";
import { tensorHashes } from "./tensor-hashes.test.fixture.js";
import { writeGguf } from "./write-gguf.js";

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

/** Names under which llama.cpp cuts text alike: tokenizers that are not published have no hash to tell them apart. */
const cutAlike = [
  ["gpt-2", "phi-2", "olmo"],
  ["smollm", "refact"],
  ["qwen2", "stablelm2"],
  ["llama-bpe", "smaug-bpe"],
];

/** What the converter's file says and ours says otherwise or not at all, by key. */
function toldOtherwise(theirs: Readonly<Record<string, unknown>>, ours: Readonly<Record<string, unknown>>) {
  const same = (key: string, wanted: unknown, got: unknown) => {
    if (key === "tokenizer.ggml.pre")
      return (
        wanted === got ||
        cutAlike.some((names) => names.includes(String(wanted)) && names.includes(String(got)))
      );
    // Scores are an order of merging, and the tokenizer's ids are compared elsewhere.
    if (key === "tokenizer.ggml.scores") return (got as unknown[]).length === (wanted as unknown[]).length;
    return JSON.stringify(wanted) === JSON.stringify(got);
  };
  // Guessed from the folder's name; about pairs of texts.
  const ignored = /^general\.(name|basename|version|size_label|finetune)$|add_sep_token$/;
  return Object.fromEntries(
    Object.entries(theirs).flatMap(([key, wanted]) =>
      ignored.test(key) || same(key, wanted, ours[key]) ? [] : [[key, { wanted, got: ours[key] }]],
    ),
  );
}

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

  it("goes out again as llama.cpp's own converter wrote it", async () => {
    const checkpoint = await openCheckpoint(out());
    const written = join(folder, `${file}.out`);
    const storage = { "llama-3.gguf": "bf16", "falcon-two-norms.gguf": "f32" } as const;
    const type = storage[file as keyof typeof storage] ?? "f16";
    await writeGguf(checkpoint, written, { type, name: "Model" });
    await checkpoint.close();
    const [theirs, ours] = [await readGguf(join(golden, file)), await readGguf(written)];
    try {
      expect(toldOtherwise(theirs.metadata, ours.metadata)).toEqual({});
      // The converter can be told to put q, k and v into one; we never do.
      if (file.includes("fused")) return;
      expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort());
      for (const [name, tensor] of theirs.tensors) {
        const { shape, type } = ours.tensors.get(name)!;
        expect({ shape, type }).toEqual({ shape: tensor.shape, type: tensor.type });
        const [wanted, got] = [await theirs.read(name), await ours.read(name)];
        if (name !== "rope_freqs.weight") expect(got, name).toEqual(wanted);
        else for (const [i, divisor] of wanted.entries()) expect(got[i] / divisor).toBeCloseTo(1, 6);
      }
    } finally {
      await theirs.close();
      await ours.close();
    }
  });

  it("has a tokenizer with the original's ids", async () => {
    const tokenizer = await openTokenizer(out());
    for (const [text, ids] of samples)
      expect(tokenizer.encode(text, { addSpecialTokens: true }), text).toEqual(ids);
  });
});
