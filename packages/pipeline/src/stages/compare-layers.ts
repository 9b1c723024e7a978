import { join } from "node:path";
import { loadActivations } from "@layerfold/capture";
import type { Activations, Embedding, SimilarityMeasure } from "@layerfold/core";
import { dataFact, type Manifest } from "../manifest.js";
import { checkOutputFiles, writeOutputFiles } from "../output-files.js";
import { pluginsNamed } from "../recipe/manifest-recipe.js";
import type { Part } from "../recipe/recipe-schema.js";
import { pluginFacts } from "../registry.js";
import { asRun, type Run, type RunOptions } from "../run.js";
import {
  type BlockSimilarityFile,
  blockSimilarityContent,
  blockSimilarityFiles,
  makeComparison,
  type SimilarityFile,
  similarityFile,
  similarityFileNames,
  similarityFiles,
  type UncertaintyOptions,
  uncertaintyOf,
} from "./similarity.js";

export interface CompareLayersRequest extends UncertaintyOptions {
  /** Folder that `capture` wrote, or what it returned. */
  readonly capture: string | Activations;
  /** Id, path to a module, or the plug-in; default `npib`. */
  readonly measure?: Part<SimilarityMeasure> | undefined;
  /** What comes before the measure; default the measure's own, else `identity`. */
  readonly embedding?: Part<Embedding> | undefined;
  /** JSON file to write; a CSV and, of whole matrices, an SVG stand beside it. Absent: nothing is written. */
  readonly out?: string | undefined;
}

/**
 * Compares every two layers of a capture. Cost: one comparison a pair, in time linear to quadratic in the samples as the measure has it.
 * @returns matrix [layers][layers] as it lies on disk
 * @throws LayerfoldError by code: PLUGIN_UNKNOWN, OPTION_UNKNOWN, OPTION_INVALID, FILE_MISSING, SAMPLES_TOO_FEW, OUTPUT_EXISTS, and what the
 * measure throws
 */
export async function compareLayers(
  request: CompareLayersRequest,
  options: RunOptions | Run = {},
): Promise<SimilarityFile> {
  const { run, comparison, activations, write } = await opened(request, asRun(options), false);
  const { layers } = activations;
  const matrix = await comparison.compare(layers, run.ctx);
  const uncertainty = await uncertaintyOf(comparison, layers, request, run.ctx);
  const { out } = request;
  if (out !== undefined) await write(similarityFiles(out, matrix, comparison, uncertainty));
  return similarityFile(matrix, comparison, uncertainty);
}

/**
 * Compares only what stands before and after every block of so many layers, as angular distance and block influence are published.
 * @returns values [layers − block] as they lie on disk
 * @throws as `compareLayers`
 */
export async function compareBlocks(
  request: Omit<CompareLayersRequest, keyof UncertaintyOptions> & { readonly block: number },
  options: RunOptions | Run = {},
): Promise<BlockSimilarityFile> {
  const { run, comparison, activations, write } = await opened(request, asRun(options), true);
  const { block, out } = request;
  const values = await comparison.compareBlocks(activations.layers, block, run.ctx);
  if (out !== undefined) await write(blockSimilarityFiles(out, values, block, comparison));
  return blockSimilarityContent(values, block, comparison);
}

async function opened(request: CompareLayersRequest, run: Run, blocks: boolean) {
  const { capture, measure = "npib", embedding, out } = request;
  const comparison = await makeComparison(measure, embedding, run);
  run.settings.assertUsed();
  if (out !== undefined) {
    const inputs = typeof capture === "string" ? [capture] : [];
    await checkOutputFiles(similarityFileNames(out, blocks), { command: "similarity", inputs });
  }
  const activations = typeof capture === "string" ? (await loadActivations(capture)).activations : capture;
  const write = async (files: ReadonlyMap<string, string>) => {
    const { capture: _, ...given } = request;
    const data: Manifest["data"] =
      typeof capture === "string" ? { capture: await dataFact(join(capture, "activations.json")) } : {};
    const plugins = pluginFacts(comparison.measure, comparison.embedding);
    await writeOutputFiles(
      files,
      { command: "similarity", arguments: pluginsNamed(given), data, plugins },
      run,
    );
  };
  return { run, comparison, activations, write };
}
