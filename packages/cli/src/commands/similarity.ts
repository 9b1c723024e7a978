import { compareBlocks, compareLayers } from "@layerfold/pipeline";
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
      const { measure, embedding, permutations, subsamples, block, out } = options;
      const request = { capture, measure, embedding, permutations, subsamples, out };
      if (block !== undefined) {
        const written = await compareBlocks({ ...request, block }, run);
        const count = written.values.length;
        run.terminal.result(written, `${count} blocks of ${block}, ${written.measure.id} → ${out}`);
        return;
      }
      const written = await compareLayers(request, run);
      const { layerCount } = written;
      run.terminal.result(written, `${layerCount} × ${layerCount} ${written.measure.id} → ${out}`);
    });
}
