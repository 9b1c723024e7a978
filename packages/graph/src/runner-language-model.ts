import { type Hidden, type LanguageModel, type ModelRunner, tensor } from "@layerfold/core";
import { graphBuilder, onnxTensor, openSession } from "@layerfold/onnx";
import { logProbability } from "./head.js";
import { streamLanguageModel } from "./stream-language-model.js";

/** Logits that are in memory at a time. */
const chunkValues = 2 ** 24;

/**
 * A language model that runs block by block: little memory, and the way to score a runner that replaces blocks. Closing it leaves the
 * runner open.
 */
export function runnerLanguageModel(runner: ModelRunner): LanguageModel & { close(): Promise<void> } {
  const { hiddenSize, vocabularySize, layerCount } = runner;
  const chunkRows = Math.max(1, Math.floor(chunkValues / vocabularySize));
  let scorer: ReturnType<typeof openSession> | undefined;
  function openedScorer() {
    if (!scorer) {
      const graph = graphBuilder();
      const logits = graph.input("logits", "float32", ["count", vocabularySize]);
      const targets = graph.input("targets", "int64", ["count"]);
      graph.output("log_probabilities", logProbability(graph, logits, targets), "float32", ["count"]);
      scorer = openSession(graph.build());
    }
    return scorer;
  }
  /** Calls `take` with the logits of a few rows after another. */
  async function project(
    rows: Float32Array,
    take: (logits: Float32Array, first: number) => Promise<void> | void,
  ) {
    const count = rows.length / hiddenSize;
    for (let first = 0; first < count; first += chunkRows) {
      const size = Math.min(chunkRows, count - first);
      const part = rows.subarray(first * hiddenSize, (first + size) * hiddenSize);
      const hidden: Hidden = { states: tensor(part, [1, size, hiddenSize]), lengths: Int32Array.of(size) };
      await take((await runner.head(hidden)).data, first);
    }
  }
  const { logitsOf, ...model } = streamLanguageModel(
    runner,
    async (batch) => {
      let hidden = await runner.embed(batch);
      for (let layer = 0; layer < layerCount; layer++) ({ hidden } = await runner.runBlock(layer, hidden));
      return hidden.states.data;
    },
    {
      async logits(rows) {
        const out = new Float32Array((rows.length / hiddenSize) * vocabularySize);
        await project(rows, (logits, first) => out.set(logits, first * vocabularySize));
        return out;
      },
      async logProbabilities(rows, targets) {
        const session = await openedScorer();
        const out = new Float32Array(targets.length);
        await project(rows, async (logits, first) => {
          const count = logits.length / vocabularySize;
          const chosen = BigInt64Array.from(targets.subarray(first, first + count), BigInt);
          const result = await session.run({
            logits: onnxTensor("float32", logits, [count, vocabularySize]),
            targets: onnxTensor("int64", chosen, [count]),
          });
          out.set(result.log_probabilities.data as Float32Array, first);
        });
        return out;
      },
    },
  );
  return { ...model, close: async () => (await scorer)?.close() };
}
