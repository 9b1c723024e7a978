import { readTextFile } from "@layerfold/checkpoint";
import {
  type Embedding,
  LayerfoldError,
  type Matrix,
  parseJson,
  type RunContext,
  type SimilarityMeasure,
} from "@layerfold/core";
import { permutationTest, subsampleInterval } from "@layerfold/information";
import { heatmapSvg } from "@layerfold/report";
import { blockSimilarity, similarityMatrix } from "@layerfold/similarity";
import { type PartMaker, partMaker } from "../make-part.js";
import { jsonText } from "../outputs.js";
import type { Part } from "../recipe/recipe-schema.js";
import { pluginFact } from "../registry.js";
import type { Run } from "../run.js";
import { matrixOf, storedMatrix } from "../tasks/similarity.js";

/** A measure with the embedding before it. */
export interface Comparison {
  readonly measure: SimilarityMeasure;
  readonly embedding: Embedding;
  /** [layers, layers] */
  compare(layers: readonly Matrix[], ctx: RunContext): Promise<Matrix>;
  /** [layers − blockSize]: the stream before and after every block of so many layers. */
  compareBlocks(layers: readonly Matrix[], blockSize: number, ctx: RunContext): Promise<Float64Array>;
}

/** Of a measure and the embedding before it, which by default is the measure's own. */
export async function comparisonOf(
  named: Part<SimilarityMeasure>,
  before: Part<Embedding> | undefined,
  make: PartMaker,
): Promise<Comparison> {
  const measure = await make<SimilarityMeasure>("similarity", named);
  const embedding = await make<Embedding>("embedding", before ?? measure.defaultEmbedding ?? "identity");
  return {
    measure,
    embedding,
    compare: (layers, ctx) => similarityMatrix(measure, layers, ctx, { embedding }),
    compareBlocks: (layers, size, ctx) => blockSimilarity(measure, layers, size, ctx, { embedding }),
  };
}

/** The same, options overruled by `--set`. */
export function makeComparison(
  measure: Part<SimilarityMeasure>,
  embedding: Part<Embedding> | undefined,
  run: Run,
): Promise<Comparison> {
  return comparisonOf(measure, embedding, partMaker(run.settings.of));
}

/** How much of a similarity matrix may be chance: one entry per pair, null on the diagonal. */
export interface Uncertainty {
  /** [layers][layers] how often shuffled samples are found as alike (Phipson & Smyth 2010). */
  readonly pValues?: readonly (readonly (number | null)[])[];
  /** [layers][layers] bounds of a 95 % interval, by random halves of the samples. */
  readonly low?: readonly (readonly (number | null)[])[];
  readonly high?: readonly (readonly (number | null)[])[];
}

export interface UncertaintyOptions {
  /** Shuffles of every permutation test; absent: no test. */
  readonly permutations?: number | undefined;
  /** Halves drawn for every interval; absent: no interval. */
  readonly subsamples?: number | undefined;
}

/** A permutation test and an interval for every pair of layers, each embedded once. */
export async function uncertaintyOf(
  { measure, embedding }: Comparison,
  layers: readonly Matrix[],
  { permutations, subsamples }: UncertaintyOptions,
  ctx: RunContext,
): Promise<Uncertainty> {
  if (permutations === undefined && subsamples === undefined) return {};
  const points: Matrix[] = [];
  for (const [l, layer] of layers.entries()) {
    points.push((await embedding.fit(layer, { ...ctx, rng: ctx.rng.fork(`layer ${l}`) })).coordinates);
  }
  const empty = () => layers.map(() => layers.map((): number | null => null));
  const [pValues, low, high] = [empty(), empty(), empty()];
  const total = (layers.length * (layers.length - 1)) / (measure.traits.symmetric ? 2 : 1);
  let done = 0;
  for (const [l, a] of points.entries()) {
    for (const [m, b] of points.entries()) {
      if (l === m || (measure.traits.symmetric && m < l)) continue;
      const pair = { ...ctx, rng: ctx.rng.fork(`pair ${l} ${m}`), report: undefined };
      if (permutations !== undefined) {
        const test = await permutationTest(measure, a, b, pair, { permutationCount: permutations });
        pValues[l][m] = test.pValue;
      }
      if (subsamples !== undefined) {
        const interval = await subsampleInterval(measure, a, b, pair, { repetitions: subsamples });
        [low[l][m], high[l][m]] = [interval.low, interval.high];
      }
      if (measure.traits.symmetric) for (const table of [pValues, low, high]) table[m][l] = table[l][m];
      ctx.report?.({ type: "progress", stage: "uncertainty", done: ++done, total, unit: "pairs" });
      await new Promise(setImmediate);
    }
  }
  return {
    ...(permutations !== undefined && { pValues }),
    ...(subsamples !== undefined && { low, high }),
  };
}

/** The similarity across every block of so many layers, as it lies on disk. */
export interface BlockSimilarityFile {
  readonly version: 1;
  readonly layerCount: number;
  readonly measure: { readonly id: string; readonly options: unknown };
  readonly embedding: { readonly id: string; readonly options: unknown };
  readonly blockSize: number;
  /** [layerCount − blockSize] entry l: after layer l and after layer l + blockSize. */
  readonly values: readonly number[];
}

export function blockSimilarityContent(
  values: Float64Array,
  blockSize: number,
  { measure, embedding }: Comparison,
): BlockSimilarityFile {
  return {
    version: 1,
    layerCount: values.length + blockSize,
    measure: pluginFact(measure),
    embedding: pluginFact(embedding),
    blockSize,
    values: Array.from(values),
  };
}

/** F.json, and F.csv beside it. */
export function blockSimilarityFiles(
  file: string,
  values: Float64Array,
  blockSize: number,
  comparison: Comparison,
): ReadonlyMap<string, string> {
  const content = blockSimilarityContent(values, blockSize, comparison);
  const rows = content.values.map((value, l) => `${l},${l + blockSize},${value}`);
  const [json, csv] = similarityFileNames(file, true);
  return new Map([
    [json, jsonText(content)],
    [csv, `layer,later,similarity\n${rows.join("\n")}\n`],
  ]);
}

/** A similarity matrix as it lies on disk. */
export interface SimilarityFile extends Uncertainty {
  readonly version: 1;
  readonly layerCount: number;
  readonly measure: { readonly id: string; readonly options: unknown };
  readonly embedding: { readonly id: string; readonly options: unknown };
  /** [layers][layers] */
  readonly matrix: readonly (readonly number[])[];
}

export function similarityFile(
  matrix: Matrix,
  { measure, embedding }: Comparison,
  uncertainty: Uncertainty = {},
): SimilarityFile {
  return {
    version: 1,
    layerCount: matrix.shape[0],
    measure: pluginFact(measure),
    embedding: pluginFact(embedding),
    matrix: storedMatrix(matrix),
    ...uncertainty,
  };
}

/** F.json, and beside it F.csv and, of whole matrices, F.svg. */
export function similarityFileNames(file: string, blocks: boolean): string[] {
  const stem = file.replace(/\.json$/, "");
  return [file, `${stem}.csv`, ...(blocks ? [] : [`${stem}.svg`])];
}

/** F.json, and F.csv and F.svg beside it. */
export function similarityFiles(
  file: string,
  matrix: Matrix,
  comparison: Comparison,
  uncertainty?: Uncertainty,
): ReadonlyMap<string, string> {
  const content = similarityFile(matrix, comparison, uncertainty);
  const [json, csv, svg] = similarityFileNames(file, false);
  return new Map([
    [json, jsonText(content)],
    [csv, `${content.matrix.map((row) => row.join(",")).join("\n")}\n`],
    [svg, heatmapSvg(matrix, { title: `${comparison.measure.id} between layers` })],
  ]);
}

/** @throws SIMILARITY_INVALID, and what `readTextFile` throws */
export async function loadSimilarity(file: string, layerCount: number): Promise<Matrix> {
  const text = await readTextFile(file);
  let content: SimilarityFile;
  try {
    content = parseJson(text) as SimilarityFile;
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
    rows.every((row) => Array.isArray(row) && row.length === layerCount && row.every(Number.isFinite));
  if (!square) {
    throw new LayerfoldError("SIMILARITY_INVALID", "this is no similarity matrix of the model", {
      wanted: `matrix: ${layerCount} rows of ${layerCount} numbers`,
      got: Array.isArray(rows) ? `${rows.length} rows` : "no matrix",
      where: file,
    });
  }
  return matrixOf(rows);
}
