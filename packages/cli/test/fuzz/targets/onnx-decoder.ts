import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onnxSource } from "@layerfold/capture";
import { tokenBatch } from "@layerfold/core";
import { exportOnnx } from "@layerfold/graph";
import type { FuzzTarget } from "../target.js";
import { madeFiles, modelFiles, tinyLlama, withCheckpoint } from "../tiny-model.js";

/** ONNX decoders as `capture` takes them: the graph, and the weights beside it. */
export const onnxDecoder: FuzzTarget = {
  id: "onnx",
  async starts(scratch) {
    const model = await modelFiles(scratch, tinyLlama);
    return [
      await madeFiles(scratch, async (folder) => {
        const [dense, exported] = [join(folder, "dense"), join(folder, "exported")];
        await mkdir(dense);
        for (const [name, bytes] of model) await writeFile(join(dense, name), bytes);
        await withCheckpoint(dense, (checkpoint) => exportOnnx(checkpoint, exported, {}, {}));
        for (const name of ["model.onnx", "model.onnx_data"]) {
          await rename(join(exported, "onnx", name), join(folder, name));
        }
        await rm(dense, { recursive: true });
        await rm(exported, { recursive: true });
      }),
    ];
  },
  changes: (name) => name === "model.onnx",
  async read(folder) {
    const source = await onnxSource(join(folder, "model.onnx"));
    try {
      for await (const { residuals } of source.capture([tokenBatch([[1, 2, 3], [4]])], {})) {
        if (residuals.some(({ length }) => length !== 2 * 3 * source.hiddenSize))
          throw new Error("streams of another size");
      }
    } finally {
      await source.close();
    }
  },
};
