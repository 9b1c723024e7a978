import { type LanguageModel, type TokenBatch, tensor } from "@layerfold/core";
import type { Head } from "./head.js";

/** A language model from what gives the final stream of a batch, [batch, sequence, hidden], and a head that reads rows of it. */
export function streamLanguageModel(
  sizes: { readonly hiddenSize: number; readonly vocabularySize: number },
  finalStream: (batch: TokenBatch) => Promise<Float32Array>,
  head: Pick<Head, "logits" | "logProbabilities">,
): LanguageModel & {
  logitsOf(batch: TokenBatch, stream: Float32Array): ReturnType<LanguageModel["logits"]>;
} {
  const { hiddenSize, vocabularySize } = sizes;
  /** Copies the named rows together: padding never reaches the head. */
  function gather(stream: Float32Array, rows: readonly number[]): Float32Array {
    const out = new Float32Array(rows.length * hiddenSize);
    rows.forEach((row, i) => {
      out.set(stream.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize);
    });
    return out;
  }
  /** Indices into [batch · sequence] of all tokens but the last `but` of each row. */
  function realRows({ sequenceLength, lengths }: TokenBatch, but: number): number[] {
    return Array.from(lengths).flatMap((length, row) =>
      Array.from({ length: length - but }, (_, position) => row * sequenceLength + position),
    );
  }
  async function logitsOf(batch: TokenBatch, stream: Float32Array) {
    const { batchSize, sequenceLength } = batch;
    const rows = realRows(batch, 0);
    const values = await head.logits(gather(stream, rows));
    const shape = [batchSize, sequenceLength, vocabularySize];
    if (rows.length === batchSize * sequenceLength) return tensor(values, shape);
    const out = new Float32Array(batchSize * sequenceLength * vocabularySize);
    rows.forEach((row, i) => {
      out.set(values.subarray(i * vocabularySize, (i + 1) * vocabularySize), row * vocabularySize);
    });
    return tensor(out, shape);
  }
  return {
    vocabularySize,
    async tokenLogProbabilities(batch) {
      const rows = realRows(batch, 1);
      const targets = Int32Array.from(rows, (row) => batch.inputIds[row + 1]);
      const scores = await head.logProbabilities(gather(await finalStream(batch), rows), targets);
      const out = new Float32Array(batch.batchSize * batch.sequenceLength);
      rows.forEach((row, i) => {
        out[row] = scores[i];
      });
      return out;
    },
    async lastLogits(batch) {
      const rows = Array.from(batch.lengths, (length, row) => row * batch.sequenceLength + length - 1);
      const values = await head.logits(gather(await finalStream(batch), rows));
      return tensor(values, [batch.batchSize, vocabularySize]);
    },
    logits: async (batch) => logitsOf(batch, await finalStream(batch)),
    logitsOf,
  };
}
