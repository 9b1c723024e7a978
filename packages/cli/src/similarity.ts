import { readFile } from "node:fs/promises";
import {
  contiguousData,
  type Embedding,
  LayerfoldError,
  type Matrix,
  type RunContext,
  type SimilarityMeasure,
  tensor,
} from "@layerfold/core";
import { heatmapSvg } from "@layerfold/report";
import { similarityMatrix } from "@layerfold/similarity";
import { pluginFact } from "./manifest.js";
import { writeJson, writeWholeFile } from "./outputs.js";
import { makePlugin } from "./registry.js";
import type { Run } from "./run.js";

/** A measure with the embedding before it. */
export interface Comparison {
  readonly measure: SimilarityMeasure;
  readonly embedding: Embedding;
  /** [layers, layers] */
  compare(layers: readonly Matrix[], ctx: RunContext): Promise<Matrix>;
}

/** NPIB estimates densities, which works in few dimensions only; the other measures take activations as they are. */
const embeddingFor = (measure: string) => (measure === "npib" ? "diffusion-map" : "identity");

export async function makeComparison(
  measureName: string,
  embeddingName: string | undefined,
  run: Run,
): Promise<Comparison> {
  const measure = await makePlugin<SimilarityMeasure>(
    "similarity",
    measureName,
    run.settings.of("similarity"),
  );
  const name = embeddingName ?? embeddingFor(measure.id);
  const embedding = await makePlugin<Embedding>("embedding", name, run.settings.of("embedding"));
  return {
    measure,
    embedding,
    compare: (layers, ctx) => similarityMatrix(measure, layers, ctx, { embedding }),
  };
}

/** A similarity matrix as it lies on disk. */
export interface SimilarityFile {
  readonly version: 1;
  readonly layerCount: number;
  readonly measure: { readonly id: string; readonly options: unknown };
  readonly embedding: { readonly id: string; readonly options: unknown };
  /** [layers][layers] */
  readonly matrix: readonly (readonly number[])[];
}

export function similarityFile(matrix: Matrix, { measure, embedding }: Comparison): SimilarityFile {
  const layerCount = matrix.shape[0];
  const values = Array.from(contiguousData(matrix));
  return {
    version: 1,
    layerCount,
    measure: pluginFact(measure),
    embedding: pluginFact(embedding),
    matrix: Array.from({ length: layerCount }, (_, l) => values.slice(l * layerCount, (l + 1) * layerCount)),
  };
}

/** Writes F.json, and F.csv and F.svg beside it. */
export async function saveSimilarity(
  file: string,
  matrix: Matrix,
  comparison: Comparison,
): Promise<SimilarityFile> {
  const content = similarityFile(matrix, comparison);
  const stem = file.replace(/\.json$/, "");
  await writeJson(file, content);
  await writeWholeFile(`${stem}.csv`, `${content.matrix.map((row) => row.join(",")).join("\n")}\n`);
  await writeWholeFile(
    `${stem}.svg`,
    heatmapSvg(matrix, { title: `${comparison.measure.id} between layers` }),
  );
  return content;
}

/** @throws SIMILARITY_INVALID */
export async function loadSimilarity(file: string, layerCount: number): Promise<Matrix> {
  let content: SimilarityFile;
  try {
    content = JSON.parse(await readFile(file, "utf8"));
  } catch (cause) {
    throw new LayerfoldError("SIMILARITY_INVALID", "cannot read the similarity matrix", {
      where: file,
      cause,
    });
  }
  const rows = content?.matrix;
  const square =
    Array.isArray(rows) &&
    rows.length === layerCount &&
    rows.every(
      (row) => Array.isArray(row) && row.length === layerCount && row.every((v) => typeof v === "number"),
    );
  if (!square) {
    throw new LayerfoldError("SIMILARITY_INVALID", "this is no similarity matrix of the model", {
      wanted: `matrix: ${layerCount} rows of ${layerCount} numbers`,
      got: Array.isArray(rows) ? `${rows.length} rows` : "no matrix",
      where: file,
    });
  }
  return tensor(Float64Array.from(rows.flat()), [layerCount, layerCount]);
}
