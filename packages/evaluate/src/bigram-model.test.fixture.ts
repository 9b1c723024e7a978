import { type LanguageModel, type RunContext, type TokenBatch, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";

export const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };

function each<T>(answer: (batch: TokenBatch) => T) {
  return async function* (batches: readonly TokenBatch[]): AsyncGenerator<T> {
    for (const batch of batches) yield answer(batch);
  };
}

/** A model whose next-token logits depend on the last token alone: `table[last][next]`. Padded positions hold traps. */
export function bigramModel(table: readonly (readonly number[])[]): LanguageModel {
  const vocabularySize = table.length;
  const logProbabilities = table.map((logits) => {
    const sum = Math.log(logits.reduce((total, x) => total + Math.exp(x), 0));
    return logits.map((x) => x - sum);
  });
  const rows = ({ batchSize, sequenceLength, lengths, inputIds }: TokenBatch) =>
    Array.from({ length: batchSize }, (_, b) =>
      inputIds.subarray(b * sequenceLength, b * sequenceLength + lengths[b]),
    );
  return {
    vocabularySize,
    tokenLogProbabilities: each((batch) => {
      const out = new Float32Array(batch.batchSize * batch.sequenceLength).fill(Number.NaN);
      rows(batch).forEach((ids, b) => {
        for (let t = 0; t + 1 < ids.length; t++) {
          out[b * batch.sequenceLength + t] = logProbabilities[ids[t]][ids[t + 1]];
        }
      });
      return out;
    }),
    lastLogits: each((batch) => {
      const last = rows(batch).flatMap((ids) => table[ids[ids.length - 1]]);
      return tensor(Float32Array.from(last), [batch.batchSize, vocabularySize]);
    }),
    logits: each((batch) => {
      const shape = [batch.batchSize, batch.sequenceLength, vocabularySize];
      const out = new Float32Array(shape[0] * shape[1] * shape[2]).fill(Number.NaN);
      rows(batch).forEach((ids, b) => {
        ids.forEach((id, t) => {
          out.set(table[id], (b * batch.sequenceLength + t) * vocabularySize);
        });
      });
      return tensor(out, shape);
    }),
  };
}

/** The same model, and every row of tokens that it is asked about. */
export function watched(model: LanguageModel): { model: LanguageModel; seen: number[][] } {
  const seen: number[][] = [];
  const look = ({ batchSize, sequenceLength, lengths, inputIds }: TokenBatch) => {
    for (let b = 0; b < batchSize; b++) {
      seen.push([...inputIds.subarray(b * sequenceLength, b * sequenceLength + lengths[b])]);
    }
  };
  return {
    seen,
    model: {
      ...model,
      lastLogits(batches) {
        batches.forEach(look);
        return model.lastLogits(batches);
      },
      tokenLogProbabilities(batches) {
        batches.forEach(look);
        return model.tokenLogProbabilities(batches);
      },
    },
  };
}
