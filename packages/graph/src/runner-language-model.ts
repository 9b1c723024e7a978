import { type LanguageModel, type ModelRunner, tensor } from "@layerfold/core";
import { streamLanguageModel } from "./stream-language-model.js";

/** A language model that runs block by block: little memory, and the way to score a runner that replaces blocks. */
export function runnerLanguageModel(runner: ModelRunner): LanguageModel {
  const { hiddenSize, layerCount } = runner;
  const { logitsOf, ...model } = streamLanguageModel(
    runner,
    async (batch) => {
      let hidden = await runner.embed(batch);
      for (let layer = 0; layer < layerCount; layer++) ({ hidden } = await runner.runBlock(layer, hidden));
      return hidden.states.data;
    },
    {
      async logits(rows) {
        const count = rows.length / hiddenSize;
        const states = tensor(rows, [1, count, hiddenSize]);
        return (await runner.head({ states, lengths: Int32Array.of(count) })).data;
      },
      logProbabilities: (rows, targets) =>
        runner.logProbabilities(tensor(rows, [targets.length, hiddenSize]), targets),
    },
  );
  return model;
}
