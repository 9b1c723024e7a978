import { join } from "node:path";
import { writeSafetensors } from "@layerfold/checkpoint";
import { readTokenRows } from "@layerfold/pipeline";
import type { FuzzTarget } from "../target.js";
import { madeFiles } from "../tiny-model.js";

const rows = {
  input_ids: [1n, 2n, 3n, 4n, 5n, 0n],
  attention_mask: [1n, 1n, 1n, 1n, 1n, 0n],
};

/** Token ids that `trace` is given. */
export const tokenRows: FuzzTarget = {
  id: "token-rows",
  starts: async (scratch) => [
    await madeFiles(scratch, (folder) =>
      writeSafetensors(
        join(folder, "ids.safetensors"),
        Object.entries(rows).map(([name, values]) => ({
          name,
          dtype: "int64",
          shape: [2, 3],
          bytes: () => new Uint8Array(BigInt64Array.from(values).buffer),
        })),
      ),
    ),
  ],
  read: (folder) =>
    readTokenRows(join(folder, "ids.safetensors"), { vocabularySize: 64, maxPositionEmbeddings: 32 }),
};
