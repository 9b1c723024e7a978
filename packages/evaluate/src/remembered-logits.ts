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
    tokenLogProbabilities: (batch) => model.tokenLogProbabilities(batch),
    lastLogits: (batch) => model.lastLogits(batch),
    async logits(batch) {
      const key = keyOf(batch);
      const remembered = known.get(key);
      if (remembered) return remembered;
      const logits = await model.logits(batch);
      if (bytes + logits.data.byteLength <= maxBytes) {
        known.set(key, logits);
        bytes += logits.data.byteLength;
      }
      return logits;
    },
  };
}
