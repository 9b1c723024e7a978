import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "@layerfold/checkpoint";
import type { DType } from "@layerfold/core";
import type { FuzzTarget } from "../target.js";
import { madeFiles } from "../tiny-model.js";

const floats: readonly DType[] = ["float32", "bfloat16", "float16", "float64"];
const bytesOf = (dtype: DType) => (dtype === "float64" ? 8 : dtype === "float32" ? 4 : 2);

/** Headers and bodies. */
export const safetensors: FuzzTarget = {
  id: "safetensors",
  starts: async (scratch) => [
    await madeFiles(scratch, (folder) =>
      writeSafetensors(
        join(folder, "t.safetensors"),
        floats.map((dtype, i) => ({
          name: `t.${i}`,
          dtype,
          shape: [i + 1, 2],
          bytes: () => new Uint8Array((i + 1) * 2 * bytesOf(dtype)).fill(0x3f),
        })),
        { format: "pt", layer: "1" },
      ),
    ),
  ],
  async read(folder) {
    const file = await openSafetensors(join(folder, "t.safetensors"));
    try {
      for (const name of file.tensors.keys()) {
        await file.readBytes(name);
        await file.read(name);
      }
    } finally {
      await file.close();
    }
  },
};
