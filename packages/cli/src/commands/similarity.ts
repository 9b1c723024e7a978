import { join } from "node:path";
import { loadActivations } from "@layerfold/capture";
import {
  blockSimilarityFiles,
  checkOutputFiles,
  dataFact,
  makeComparison,
  pluginFacts,
  similarityFileNames,
  similarityFiles,
  uncertaintyOf,
  writeOutputFiles,
} from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, integer } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

interface SimilarityOptions extends CommonOptions {
  readonly measure: string;
  readonly embedding?: string;
  readonly block?: number;
  readonly permutations?: number;
  readonly subsamples?: number;
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
    .option(
      "--block <layers>",
      "compare only before and after every block of so many layers, as angular distance is published",
      integer(1),
    )
    .option(
      "--permutations <count>",
      "add a p-value to every pair: how often shuffled samples are found as alike",
      integer(1),
    )
    .option("--subsamples <count>", "add a 95 % interval to every pair, by so many random halves", integer(2))
    .requiredOption("--out <file>", "JSON file to write; .csv and .svg stand beside it")
    .action(async (capture: string, options: SimilarityOptions) => {
      const run = createCommandRun(options, signal);
      const comparison = await makeComparison(options.measure, options.embedding, run);
      run.settings.assertUsed();
      await checkOutputFiles(similarityFileNames(options.out, options.block !== undefined), {
        command: "similarity",
        inputs: [capture],
      });
      const { activations } = await loadActivations(capture);
      const facts = {
        command: "similarity",
        arguments: options,
        data: { capture: await dataFact(join(capture, "activations.json")) },
        plugins: pluginFacts(comparison.measure, comparison.embedding),
      };
      if (options.block !== undefined) {
        const { block, out } = options;
        const values = await comparison.compareBlocks(activations.layers, block, run.ctx);
        const { content: written, files } = blockSimilarityFiles(out, values, block, comparison);
        await writeOutputFiles(files, facts, run);
        run.terminal.result(written, `${values.length} blocks of ${block}, ${written.measure.id} → ${out}`);
        return;
      }
      const similarity = await comparison.compare(activations.layers, run.ctx);
      const uncertainty = await uncertaintyOf(comparison, activations.layers, options, run.ctx);
      const { content: written, files } = similarityFiles(options.out, similarity, comparison, uncertainty);
      await writeOutputFiles(files, facts, run);
      run.terminal.result(
        written,
        `${written.layerCount} × ${written.layerCount} ${written.measure.id} → ${options.out}`,
      );
    });
}
