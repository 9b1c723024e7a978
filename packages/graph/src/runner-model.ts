import {
  type ActivationBatch,
  type ActivationSource,
  contiguousData,
  type Hidden,
  type LanguageModel,
  type ModelRunner,
  type PassContext,
  type TokenBatch,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { type FloatSpill, openFloatSpill, streamMemory } from "@layerfold/disk";
import { streamLanguageModel } from "./stream-language-model.js";

export interface RunnerModelOptions {
  /** Bytes of residual streams that are kept in memory between blocks; the others lie in a temporary file. Default `streamMemory`. */
  readonly streamBytes?: number | undefined;
}

/** Positions that go through a block at once: enough for its products to run at full speed, few beside its weights. */
const positionsAtOnce = 2048;
/** Bytes of residual streams of all depths that are handed out at once, where they lie on disk. */
const handedOut = 2 ** 28;

/**
 * A language model and a source of activations that run block by block: all batches go through one block before the next is read, so a
 * pass over a text reads every weight once. Also the way to score a runner that replaces blocks.
 *
 * Memory: what the runner holds, and the streams. Disk, where streams find no room in memory: 4 · tokens · hiddenSize bytes, and for a
 * capture as much for every block; DISK_FULL before anything runs, where the disk has no room for them.
 */
export function runnerModel(
  runner: ModelRunner,
  options: RunnerModelOptions = {},
): LanguageModel & ActivationSource {
  const { hiddenSize, layerCount } = runner;
  const streamBytesOf = (ctx: PassContext | undefined) => options.streamBytes ?? streamMemory(ctx?.memory);
  const sizeOf = ({ batchSize, sequenceLength }: TokenBatch) => batchSize * sequenceLength * hiddenSize;

  /** Takes all batches through all blocks; `keep` says under which number a depth's streams stay. */
  async function run(
    pieces: readonly TokenBatch[],
    spill: FloatSpill,
    keep: (depth: number, piece: number) => number,
    ctx: PassContext | undefined,
  ): Promise<void> {
    const put = (depth: number, piece: number, { states }: Hidden) =>
      spill.put(keep(depth, piece), contiguousData(states));
    for (const [p, piece] of pieces.entries()) await put(0, p, await runner.embed(piece));
    for (let layer = 0; layer < layerCount; layer++) {
      for (const [p, { batchSize, sequenceLength, lengths }] of pieces.entries()) {
        throwIfAborted(ctx?.signal);
        const states = tensor(await spill.get(keep(layer, p)), [batchSize, sequenceLength, hiddenSize]);
        await put(layer + 1, p, (await runner.runBlock(layer, { states, lengths })).hidden);
      }
      ctx?.report?.({
        type: "progress",
        stage: "blocks",
        done: layer + 1,
        total: layerCount,
        unit: "blocks",
      });
    }
  }

  const bytesOf = (pieces: readonly TokenBatch[], depths: number) =>
    4 * depths * pieces.reduce((sum, piece) => sum + sizeOf(piece), 0);

  async function* finalStreams(
    batches: readonly TokenBatch[],
    ctx?: PassContext,
  ): AsyncGenerator<Float32Array> {
    const { pieces, parts } = regrouped(batches, positionsAtOnce);
    const expectedBytes = bytesOf(pieces, 1);
    const spill = await openFloatSpill({ memoryBytes: streamBytesOf(ctx), expectedBytes });
    try {
      await run(pieces, spill, (_, piece) => piece, ctx);
      for (const [b, batch] of batches.entries()) {
        const rowSize = batch.sequenceLength * hiddenSize;
        const found: Float32Array[] = [];
        for (const { piece, from, rows } of parts[b]) {
          found.push(await spill.get(piece, from * rowSize, rows * rowSize));
        }
        yield joined(found);
      }
    } finally {
      await spill.close();
    }
  }

  async function* capture(
    batches: Iterable<TokenBatch> | AsyncIterable<TokenBatch>,
    ctx: PassContext,
  ): AsyncGenerator<ActivationBatch> {
    const given: TokenBatch[] = [];
    for await (const batch of batches) given.push(batch);
    const { pieces } = regrouped(given, positionsAtOnce);
    const depths = layerCount + 1;
    const expectedBytes = bytesOf(pieces, depths);
    const streamBytes = streamBytesOf(ctx);
    const spill = await openFloatSpill({ memoryBytes: streamBytes, expectedBytes });
    try {
      await run(pieces, spill, (depth, piece) => depth * pieces.length + piece, ctx);
      // All depths of a few rows: on disk lie those of all.
      const positions = Math.floor(
        (expectedBytes > streamBytes ? handedOut : expectedBytes) / (4 * depths * hiddenSize),
      );
      for (const [p, piece] of pieces.entries()) {
        let at = 0;
        for (const batch of regrouped([piece], positions).pieces) {
          const size = sizeOf(batch);
          const residuals: Float32Array[] = [];
          for (let depth = 0; depth < depths; depth++) {
            residuals.push(await spill.get(depth * pieces.length + p, at, size));
          }
          at += size;
          yield { batch, residuals };
        }
      }
    } finally {
      await spill.close();
    }
  }

  return { ...headModel(runner, finalStreams), layerCount, hiddenSize, capture, close: async () => {} };
}

/**
 * What a runner's head makes of streams that are at hand.
 * @param finalStreams - [batch, sequence, hidden] behind the last block, of each of the batches that are asked about, in order
 */
export function headModel(
  runner: Pick<ModelRunner, "hiddenSize" | "vocabularySize" | "head" | "logProbabilities">,
  finalStreams: (batches: readonly TokenBatch[], ctx?: PassContext) => AsyncIterable<Float32Array>,
): LanguageModel {
  const { hiddenSize } = runner;
  return streamLanguageModel(
    runner,
    finalStreams,
    {
      async logits(rows) {
        const count = rows.length / hiddenSize;
        const states = tensor(rows, [1, count, hiddenSize]);
        return (await runner.head({ states, lengths: Int32Array.of(count) })).data;
      },
      logProbabilities: (rows, targets) =>
        runner.logProbabilities(tensor(rows, [targets.length, hiddenSize]), targets),
    },
    { together: true },
  );
}

/** Rows of a batch, and where they are among the pieces. */
interface Part {
  readonly piece: number;
  /** Its row there that is the first of these. */
  readonly from: number;
  readonly rows: number;
}

/** The rows of all batches in order, in batches of at most so many positions, one row at least; and each batch's parts of them. */
function regrouped(
  batches: readonly TokenBatch[],
  positions: number,
): { readonly pieces: readonly TokenBatch[]; readonly parts: readonly (readonly Part[])[] } {
  const pieces: TokenBatch[][] = [];
  const rowsIn = (piece: readonly TokenBatch[]) => piece.reduce((sum, { batchSize }) => sum + batchSize, 0);
  const parts = batches.map((batch) => {
    const { batchSize, sequenceLength } = batch;
    const most = Math.max(1, Math.floor(positions / sequenceLength));
    const own: Part[] = [];
    for (let row = 0; row < batchSize; ) {
      const last = pieces.at(-1);
      const open = last && last[0].sequenceLength === sequenceLength && rowsIn(last) < most ? last : [];
      if (open.length === 0) pieces.push(open);
      const from = rowsIn(open);
      const rows = Math.min(batchSize - row, most - from);
      open.push(someRows(batch, row, rows));
      own.push({ piece: pieces.length - 1, from, rows });
      row += rows;
    }
    return own;
  });
  return { pieces: pieces.map(together), parts };
}

function someRows({ sequenceLength, inputIds, lengths }: TokenBatch, from: number, rows: number): TokenBatch {
  return {
    batchSize: rows,
    sequenceLength,
    inputIds: inputIds.subarray(from * sequenceLength, (from + rows) * sequenceLength),
    lengths: lengths.subarray(from, from + rows),
  };
}

/** Batches of one length as one. */
function together(batches: readonly TokenBatch[]): TokenBatch {
  if (batches.length === 1) return batches[0];
  return {
    batchSize: batches.reduce((sum, { batchSize }) => sum + batchSize, 0),
    sequenceLength: batches[0].sequenceLength,
    inputIds: Int32Array.from(batches.flatMap(({ inputIds }) => [...inputIds])),
    lengths: Int32Array.from(batches.flatMap(({ lengths }) => [...lengths])),
  };
}

function joined(arrays: readonly Float32Array[]): Float32Array {
  if (arrays.length === 1) return arrays[0];
  const whole = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const values of arrays) {
    whole.set(values, at);
    at += values.length;
  }
  return whole;
}
