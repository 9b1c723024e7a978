import { loadActivations, saveActivations } from "@layerfold/capture";
import { tensor } from "@layerfold/core";
import type { FuzzTarget } from "../target.js";
import { madeFiles } from "../tiny-model.js";

/** What `capture` keeps. */
export const recording: FuzzTarget = {
  id: "recording",
  starts: async (scratch) => [
    await madeFiles(scratch, (folder) => {
      const square = tensor(new Float64Array(9), [3, 3]);
      const layers = [0, 1].map((l) => tensor(new Float32Array(20).fill(l), [5, 4]));
      const statistics = {
        layerCount: 2,
        tokenCount: 7,
        cosine: square,
        angle: square,
        norm: new Float64Array(3),
      };
      return saveActivations(
        folder,
        { layers, statistics },
        { model: "aa", calibration: "bb", pooling: "every:2" },
      );
    }),
  ],
  read: (folder) => loadActivations(folder),
};
