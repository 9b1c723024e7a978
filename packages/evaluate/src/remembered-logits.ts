import type { LanguageModel, Tensor, TokenBatch } from "@layerfold/core";

/**
 * The same model, whose logits of a batch are computed once: for the dense model, which every folded one is held against on the same text.
 *
 * @param maxBytes - logits beyond this are computed anew each time
 */
export function rememberedLogits(model: LanguageModel, maxBytes: number): LanguageModel {
  const known = new Map<string, Tensor<Float32Array>>();
  let bytes = 0;
  const keyOf = ({ inputIds, lengths }: TokenBatch) => `${lengths.join(",")}:${inputIds.join(",")}`;
  return {
    vocabularySize: model.vocabularySize,
    tokenLogProbabilities: (batches, ctx) => model.tokenLogProbabilities(batches, ctx),
    lastLogits: (batches, ctx) => model.lastLogits(batches, ctx),
    async *logits(batches, ctx) {
      const remembered = batches.map((batch) => known.get(keyOf(batch)));
      const others = batches.filter((_, i) => !remembered[i]);
      const asked = model.logits(others, ctx)[Symbol.asyncIterator]();
      try {
        for (const [i, batch] of batches.entries()) {
          const before = remembered[i];
          if (before) {
            yield before;
            continue;
          }
          const logits: Tensor<Float32Array> = (await asked.next()).value;
          if (bytes + logits.data.byteLength <= maxBytes) {
            known.set(keyOf(batch), logits);
            bytes += logits.data.byteLength;
          }
          yield logits;
        }
      } finally {
        await asked.return?.();
      }
    },
  };
}
