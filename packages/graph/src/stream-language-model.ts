import { type LanguageModel, type PassContext, type Tensor, type TokenBatch, tensor } from "@layerfold/core";
import type { Head } from "./head.js";

/** Bytes of rows, and of their logits, for which a head that reads its weights anew each time is asked at once. */
const togetherBytes = { rows: 2 ** 26, logits: 2 ** 28 };

/** What the head makes of rows of one batch. */
interface Asked {
  readonly batch: TokenBatch;
  /** Indices into [batch · sequence]. */
  readonly rows: readonly number[];
  /** [rows, hidden] */
  readonly values: Float32Array;
}

/**
 * A language model from what gives the final streams of batches, [batch, sequence, hidden] each and in order, and a head that reads rows
 * of them.
 *
 * @param options.together - ask the head about several batches at once
 */
export function streamLanguageModel(
  { hiddenSize, vocabularySize }: { readonly hiddenSize: number; readonly vocabularySize: number },
  finalStreams: (batches: readonly TokenBatch[], ctx?: PassContext) => AsyncIterable<Float32Array>,
  head: Pick<Head, "logits" | "logProbabilities">,
  { together = false }: { readonly together?: boolean } = {},
): LanguageModel {
  /** The named rows of each batch, together: padding never reaches the head. */
  async function* asked(
    batches: readonly TokenBatch[],
    rowsOf: (batch: TokenBatch) => readonly number[],
    ctx: PassContext | undefined,
  ): AsyncGenerator<Asked> {
    let index = 0;
    for await (const stream of finalStreams(batches, ctx)) {
      const batch = batches[index++];
      const rows = rowsOf(batch);
      const values = new Float32Array(rows.length * hiddenSize);
      rows.forEach((row, i) => {
        values.set(stream.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize);
      });
      yield { batch, rows, values };
    }
  }

  /** Indices into [batch · sequence] of all tokens but the last `but` of each row. */
  const realRows =
    (but: number) =>
    ({ sequenceLength, lengths }: TokenBatch): number[] =>
      Array.from(lengths).flatMap((length, row) =>
        Array.from({ length: length - but }, (_, position) => row * sequenceLength + position),
      );

  /** One batch after another, or as many together as `mostRows` allows. */
  async function* grouped(each: AsyncIterable<Asked>, mostRows: number): AsyncGenerator<readonly Asked[]> {
    let group: Asked[] = [];
    let count = 0;
    for await (const one of each) {
      if (group.length > 0 && (!together || count + one.rows.length > mostRows)) {
        yield group;
        group = [];
        count = 0;
      }
      group.push(one);
      count += one.rows.length;
    }
    if (group.length > 0) yield group;
  }
  const rowsTogether = Math.floor(togetherBytes.rows / (4 * hiddenSize));
  const logitsTogether = Math.floor(togetherBytes.logits / (4 * vocabularySize));

  function rowsOf(group: readonly Asked[]): Float32Array {
    if (group.length === 1) return group[0].values;
    const rows = new Float32Array(group.reduce((sum, { values }) => sum + values.length, 0));
    let at = 0;
    for (const { values } of group) {
      rows.set(values, at);
      at += values.length;
    }
    return rows;
  }

  async function scores(group: readonly Asked[]): Promise<Float32Array[]> {
    const targets = Int32Array.from(
      group.flatMap(({ batch, rows }) => rows.map((row) => batch.inputIds[row + 1])),
    );
    const found =
      targets.length > 0 ? await head.logProbabilities(rowsOf(group), targets) : new Float32Array(0);
    let next = 0;
    return group.map(({ batch, rows }) => {
      const out = new Float32Array(batch.batchSize * batch.sequenceLength);
      for (const row of rows) out[row] = found[next++];
      return out;
    });
  }

  async function logitsOf({ batch, rows, values }: Asked): Promise<Tensor<Float32Array>> {
    const { batchSize, sequenceLength } = batch;
    const logits = await head.logits(values);
    const shape = [batchSize, sequenceLength, vocabularySize];
    if (rows.length === batchSize * sequenceLength) return tensor(logits, shape);
    const out = new Float32Array(batchSize * sequenceLength * vocabularySize);
    rows.forEach((row, i) => {
      out.set(logits.subarray(i * vocabularySize, (i + 1) * vocabularySize), row * vocabularySize);
    });
    return tensor(out, shape);
  }

  return {
    vocabularySize,
    async *tokenLogProbabilities(batches, ctx) {
      for await (const group of grouped(asked(batches, realRows(1), ctx), rowsTogether))
        yield* await scores(group);
    },
    async *lastLogits(batches, ctx) {
      const lastRows = ({ sequenceLength, lengths }: TokenBatch) =>
        Array.from(lengths, (length, row) => row * sequenceLength + length - 1);
      const most = Math.min(rowsTogether, logitsTogether);
      for await (const group of grouped(asked(batches, lastRows, ctx), most)) {
        const logits = await head.logits(rowsOf(group));
        let at = 0;
        for (const { batch } of group) {
          const size = batch.batchSize * vocabularySize;
          yield tensor(logits.subarray(at, at + size), [batch.batchSize, vocabularySize]);
          at += size;
        }
      }
    },
    async *logits(batches, ctx) {
      for await (const one of asked(batches, realRows(0), ctx)) yield logitsOf(one);
    },
  };
}
