import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { importGguf, openCheckpoint } from "@layerfold/checkpoint";
import { firstOf, tokenBatch } from "@layerfold/core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openDecoder } from "./open-decoder.js";

// Models and logits by transformers 5.24, GGUF files by llama.cpp's own converter: checkpoint's test/golden/make_gguf_architectures.py.
const golden = fileURLToPath(new URL("../../checkpoint/test/golden/gguf/", import.meta.url));
const rows: { file: string; input: number[]; logits: string }[] = JSON.parse(
  readFileSync(join(golden, "models.json"), "utf8"),
);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-gguf-"));
});
afterAll(() => rm(folder, { recursive: true }));

it.each(rows.map((row) => [row.file, row] as const))(
  "%s, imported, gives the original's logits",
  async (file, { input, logits }) => {
    await importGguf(join(golden, file), join(folder, file));
    const checkpoint = await openCheckpoint(join(folder, file));
    const decoder = await openDecoder(checkpoint, { threads: 1 });
    const { data } = await firstOf(decoder.lastLogits([tokenBatch([input])]));
    await decoder.close();
    await checkpoint.close();
    const wanted = new Float32Array(Uint8Array.from(Buffer.from(logits, "base64")).buffer);
    expect(data.length).toBe(wanted.length);
    // Logits reach 25; transformers adds in another order.
    const largest = data.reduce((most, logit, id) => Math.max(most, Math.abs(logit - wanted[id])), 0);
    expect(largest).toBeLessThanOrEqual(1e-4);
  },
);
