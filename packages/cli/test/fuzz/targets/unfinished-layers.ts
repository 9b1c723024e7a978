import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { dropPlan, type RunContext, tokenBatch } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { drop, foldCheckpoint, reconstruct } from "@layerfold/merge";
import { quantizeCheckpoint, schemeOf } from "@layerfold/quantize";
import type { FuzzTarget } from "../target.js";
import { madeFiles, modelFiles, withCheckpoint } from "../tiny-model.js";

const ctx = (): RunContext => ({ rng: seededRng(0), engine: portableEngine() });
const calibration = async function* () {
  yield tokenBatch([[1, 2, 3, 4, 5, 6, 7, 8]]);
};

/** Quantises and folds the model in a folder, going on from `layers` and `blocks` in it. */
async function goOn(folder: string): Promise<void> {
  await withCheckpoint(join(folder, "model"), async (checkpoint) => {
    const runner = await openRunner(checkpoint);
    try {
      const scheme = schemeOf("rtn-w4g16", { dtype: checkpoint.dtype, format: "compressed-tensors" });
      const layers = { scheme, calibration, unfinished: join(folder, "layers") };
      await quantizeCheckpoint(checkpoint, runner, join(folder, "quantized"), layers, ctx());
      await foldCheckpoint(
        checkpoint,
        dropPlan(2, [0]),
        {
          strategy: drop(),
          repair: reconstruct(),
          runner,
          calibration,
          out: join(folder, "folded"),
          unfinished: join(folder, "blocks"),
        },
        ctx(),
      );
    } finally {
      await runner.close();
    }
  });
}

/** What an interrupted `quantize` or `merge` has done of its layers. */
export const unfinishedLayers: FuzzTarget = {
  id: "unfinished-layers",
  starts: async (scratch) => [
    await madeFiles(scratch, async (folder) => {
      await mkdir(join(folder, "model"));
      for (const [name, bytes] of await modelFiles(scratch))
        await writeFile(join(folder, "model", name), bytes);
      await goOn(folder);
    }),
  ],
  changes: (name) => /^(layers\/.*\.codes|blocks\/)/.test(name),
  async read(folder, out) {
    for (const name of ["model", "layers", "blocks"])
      await cp(join(folder, name), join(out, name), { recursive: true });
    await goOn(out);
  },
};
