import { loadActivations } from "@layerfold/capture";
import type { Command } from "commander";
import { type CommonOptions, command } from "../command.js";
import { createRun } from "../run.js";
import { makeComparison, saveSimilarity } from "../similarity.js";

interface SimilarityOptions extends CommonOptions {
  readonly measure: string;
  readonly embedding?: string;
  readonly out: string;
}

export function similarityCommand(signal: AbortSignal): Command {
  return command(
    "similarity",
    "Compare every two layers of a capture; writes the matrix as JSON, CSV and a heatmap SVG.",
    "layerfold similarity activations --measure npib --embedding diffusion-map --out similarity.json",
  )
    .argument("<capture>", "folder that `layerfold capture` wrote")
    .option("--measure <name>", "similarity measure, or a path to a module with one", "npib")
    .option("--embedding <name>", "embed every layer first (default: diffusion-map for npib, else identity)")
    .requiredOption("--out <file>", "JSON file to write; .csv and .svg stand beside it")
    .action(async (capture: string, options: SimilarityOptions) => {
      const run = createRun(options, signal);
      const comparison = await makeComparison(options.measure, options.embedding, run);
      run.settings.assertUsed();
      const { activations } = await loadActivations(capture);
      const similarity = await comparison.compare(activations.layers, run.ctx);
      const written = await saveSimilarity(options.out, similarity, comparison);
      run.terminal.result(
        written,
        `${written.layerCount} × ${written.layerCount} ${written.measure.id} → ${options.out}`,
      );
    });
}
