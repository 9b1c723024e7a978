import { contiguousData, type Embedding, type Matrix, type SimilarityMeasure, tensor } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { similarityMatrix } from "@layerfold/similarity";
import { type Artefact, defineTask, jsonCodec } from "@layerfold/tasks";
import { type PluginReference, pluginOf } from "../plugin-reference.js";
import type { StoredCapture } from "./capture.js";
import { allThreads } from "./resources.js";
import { taskCode } from "./task-code.js";

/** [layers][layers] */
export type StoredMatrix = readonly (readonly number[])[];

/** What a matrix is compared by: a measure with the embedding before it. */
export type ComparisonReference = {
  readonly measure: PluginReference;
  readonly embedding: PluginReference;
};

/** How alike the layers are, by their captured activations. */
export const similarityTask = defineTask({
  kind: "similarity",
  code: taskCode(import.meta.url),
  codec: jsonCodec<StoredMatrix>(),
  resources: allThreads,
  async run(
    { measure, embedding, seed }: ComparisonReference & { readonly seed: number },
    { capture }: { readonly capture: Artefact<StoredCapture> },
    ctx,
  ) {
    const { activations } = await capture.read();
    return storedMatrix(
      await similarityMatrix(
        pluginOf<SimilarityMeasure>(measure),
        activations.layers,
        { ...ctx, rng: seededRng(seed) },
        { embedding: pluginOf<Embedding>(embedding) },
      ),
    );
  },
});

export function storedMatrix(matrix: Matrix): StoredMatrix {
  const [rows, columns] = matrix.shape;
  const values = Array.from(contiguousData(matrix));
  return Array.from({ length: rows }, (_, row) => values.slice(row * columns, (row + 1) * columns));
}

export function matrixOf(stored: StoredMatrix): Matrix {
  return tensor(Float64Array.from(stored.flat()), [stored.length, stored[0]?.length ?? 0]);
}
