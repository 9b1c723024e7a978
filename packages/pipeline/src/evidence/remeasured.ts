import { captureSamples, parsePooling } from "@layerfold/capture";
import type { Embedding, MergePlan, RunContext, SimilarityMeasure } from "@layerfold/core";
import { openRunner, runnerModel } from "@layerfold/graph";
import { foldedBlocks, foldedRunner, weighted } from "@layerfold/merge";
import { similarityMatrix } from "@layerfold/similarity";
import { eachBatch } from "../inputs/open-model.js";
import { pluginOf } from "../plugin-reference.js";
import { type ComparisonReference, type StoredMatrix, storedMatrix } from "../tasks/similarity.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** The similarity matrix of one folded model's own layers after another, run in memory. */
export async function openRemeasured(
  { checkpoint, place, text }: TrialMaterial,
  { measure, embedding }: ComparisonReference,
  pooling: string,
  ctx: RunContext,
): Promise<Evaluator<MergePlan, StoredMatrix>> {
  const runner = await openRunner(checkpoint, place);
  return {
    async answer(plan) {
      const folded = foldedRunner(runner, plan, foldedBlocks(checkpoint, plan, weighted(), ctx));
      const layers = await captureSamples(
        runnerModel(folded),
        eachBatch(text),
        { pooling: parsePooling(pooling) },
        ctx,
      );
      const options = { embedding: pluginOf<Embedding>(embedding) };
      return storedMatrix(await similarityMatrix(pluginOf<SimilarityMeasure>(measure), layers, ctx, options));
    },
    close: () => runner.close(),
  };
}
