import { join } from "node:path";
import { loadSimilarity } from "@layerfold/pipeline";
import { encodeJson, type FuzzTarget } from "../target.js";

/** A similarity matrix that is handed to a planner. */
export const similarity: FuzzTarget = {
  id: "similarity",
  starts: async () => [
    new Map([
      [
        "similarity.json",
        encodeJson({
          version: 1,
          layerCount: 2,
          measure: { kind: "similarity", id: "cosine", options: {} },
          embedding: { kind: "embedding", id: "identity", options: {} },
          matrix: [
            [1, 0.5],
            [0.5, 1],
          ],
        }),
      ],
    ]),
  ],
  read: (folder) => loadSimilarity(join(folder, "similarity.json"), 2),
};
