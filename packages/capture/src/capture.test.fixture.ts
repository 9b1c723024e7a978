import { type ActivationSource, type RunContext, type TokenBatch, tokenBatch } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";

export const ctx: RunContext = { rng: seededRng(7), engine: portableEngine() };

/** A source whose stream at depth d for token id v is `stream(d, v)`; padding holds NaN. */
export function fakeSource(
  layerCount: number,
  hiddenSize: number,
  stream: (depth: number, id: number) => ArrayLike<number>,
): ActivationSource {
  return {
    layerCount,
    hiddenSize,
    async *capture(batches) {
      for await (const batch of batches) {
        const residuals = Array.from({ length: layerCount + 1 }, (_, depth) => {
          const data = new Float32Array(batch.batchSize * batch.sequenceLength * hiddenSize).fill(Number.NaN);
          for (let b = 0; b < batch.batchSize; b++) {
            for (let t = 0; t < batch.lengths[b]; t++) {
              const at = b * batch.sequenceLength + t;
              data.set(stream(depth, batch.inputIds[at]), at * hiddenSize);
            }
          }
          return data;
        });
        yield { batch, residuals };
      }
    },
    close: async () => {},
  };
}

export const batchesOf = (...batches: number[][][]): TokenBatch[] => batches.map((rows) => tokenBatch(rows));
