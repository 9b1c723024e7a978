import { captureSamples, parsePooling } from "@layerfold/capture";
import {
  type ActivationSource,
  contiguousData,
  type Embedding,
  type Matrix,
  type PlanGroup,
  type RemeasuredLayers,
  type RunContext,
  type SimilarityMeasure,
} from "@layerfold/core";
import { foldStoredGroup, planStreams, weighted } from "@layerfold/merge";
import { similarityMatrix } from "@layerfold/similarity";
import { sequenceBatches } from "../inputs/open-model.js";
import { pluginOf } from "../plugin-reference.js";
import { type ComparisonReference, type StoredMatrix, storedMatrix } from "../tasks/similarity.js";
import { openTrialRunner } from "./open-trial-runner.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** Padded positions that go through a block at once: a merged block's weights are in memory beside what it holds of them. */
const positionsAtOnce = 2048;

/** Similarity matrices among layers of one folded model after another. What two plans begin with alike is run once. */
export async function openRemeasured(
  material: TrialMaterial,
  { measure, embedding }: ComparisonReference,
  pooling: string,
  ctx: RunContext,
): Promise<Evaluator<RemeasuredLayers, StoredMatrix>> {
  const runner = await openTrialRunner(material, ctx);
  const batches = sequenceBatches(material.text, positionsAtOnce);
  const strategy = weighted();
  const merged = (group: PlanGroup) => foldStoredGroup(material.checkpoint, group, strategy, ctx);
  const streams = planStreams(runner, batches, merged, ctx);
  /** Of groups of the last plan. */
  let samples = new Map<number, Matrix<Float32Array>>();

  async function samplesOf(group: number): Promise<Matrix<Float32Array>> {
    const source: ActivationSource = {
      layerCount: 1,
      hiddenSize: runner.hiddenSize,
      async *capture() {
        let b = 0;
        for await (const { states } of streams.behind(group)) {
          const values = contiguousData(states);
          yield { batch: batches[b++], residuals: [values, values] };
        }
      },
      close: async () => {},
    };
    const [layer] = await captureSamples(source, batches, { pooling: parsePooling(pooling) }, ctx);
    return layer;
  }

  return {
    async answer({ plan, groups }) {
      const before = samples;
      // Where the run breaks off, nothing is known of the next plan's.
      samples = new Map();
      const first = await streams.run(plan, groups[groups.length - 1] + 1);
      samples = new Map([...before].filter(([group]) => group < first));
      const layers: Matrix<Float32Array>[] = [];
      for (const group of groups) {
        const layer = samples.get(group) ?? (await samplesOf(group));
        samples.set(group, layer);
        layers.push(layer);
      }
      const options = { embedding: pluginOf<Embedding>(embedding), numbers: groups };
      return storedMatrix(await similarityMatrix(pluginOf<SimilarityMeasure>(measure), layers, ctx, options));
    },
    async close() {
      await streams.close();
      await runner.close();
    },
  };
}
