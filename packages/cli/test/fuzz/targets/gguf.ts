import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { importGguf, openTokenizer } from "@layerfold/checkpoint";
import type { FuzzTarget } from "../target.js";
import { withCheckpoint } from "../tiny-model.js";

const golden = new URL("../../../../checkpoint/test/golden/", import.meta.url);

/** A GGUF file, from import to the checkpoint that comes of it. */
export const gguf: FuzzTarget = {
  id: "gguf",
  async starts() {
    const names = ["llama.gguf", "llama.gguf", "qwen3.gguf"];
    return Promise.all(
      names.map(
        async (name) => new Map([["model.gguf", new Uint8Array(await readFile(new URL(name, golden)))]]),
      ),
    );
  },
  async read(folder, out) {
    await importGguf(join(folder, "model.gguf"), out);
    await withCheckpoint(out, async ({ fingerprint }) => fingerprint());
    (await openTokenizer(out)).encode("the dog");
  },
};
