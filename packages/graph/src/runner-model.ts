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
import { type FloatSpill, openFloatSpill } from "@layerfold/disk";
import { streamLanguageModel } from "./stream-language-model.js";

export interface RunnerModelOptions {
  /** Bytes of residual streams that are kept in memory between blocks; the others lie in a temporary file. Default 256 MiB. */
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
  { streamBytes = 2 ** 28 }: RunnerModelOptions = {},
): LanguageModel & ActivationSource {
  const { hiddenSize, layerCount } = runner;
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
    const parts = batches.map((batch) => rowsAtOnce(batch, positionsAtOnce));
    const pieces = parts.flat();
    const spill = await openFloatSpill({ memoryBytes: streamBytes, expectedBytes: bytesOf(pieces, 1) });
    try {
      await run(pieces, spill, (_, piece) => piece, ctx);
      let next = 0;
      for (const [b, batch] of batches.entries()) {
        if (parts[b].length === 1) {
          yield spill.get(next++);
          continue;
        }
        const whole = new Float32Array(sizeOf(batch));
        for (let at = 0; at < whole.length; ) {
          const values = await spill.get(next++);
          whole.set(values, at);
          at += values.length;
        }
        yield whole;
      }
    } finally {
      await spill.close();
    }
  }

  async function* capture(
    batches: Iterable<TokenBatch> | AsyncIterable<TokenBatch>,
    ctx: PassContext,
  ): AsyncGenerator<ActivationBatch> {
    const pieces: TokenBatch[] = [];
    for await (const batch of batches) pieces.push(...rowsAtOnce(batch, positionsAtOnce));
    const depths = layerCount + 1;
    const expectedBytes = bytesOf(pieces, depths);
    const spill = await openFloatSpill({ memoryBytes: streamBytes, expectedBytes });
    try {
      await run(pieces, spill, (depth, piece) => depth * pieces.length + piece, ctx);
      // All depths of a few rows: on disk lie those of all.
      const positions = Math.floor(
        (expectedBytes > streamBytes ? handedOut : expectedBytes) / (4 * depths * hiddenSize),
      );
      for (const [p, piece] of pieces.entries()) {
        let at = 0;
        for (const batch of rowsAtOnce(piece, positions)) {
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

/** A batch's rows as batches of at most so many positions, one row at least. */
function rowsAtOnce(batch: TokenBatch, positions: number): TokenBatch[] {
  const { batchSize, sequenceLength, inputIds, lengths } = batch;
  const rows = Math.max(1, Math.floor(positions / sequenceLength));
  if (rows >= batchSize) return [batch];
  return Array.from({ length: Math.ceil(batchSize / rows) }, (_, i) => {
    const [from, to] = [i * rows, Math.min(batchSize, (i + 1) * rows)];
    return {
      batchSize: to - from,
      sequenceLength,
      inputIds: inputIds.subarray(from * sequenceLength, to * sequenceLength),
      lengths: lengths.subarray(from, to),
    };
  });
}
