import type { Checkpoint } from "@layerfold/checkpoint";
import {
  type Architecture,
  elementCount,
  LayerfoldError,
  type TokenMemory,
  type TreeModel,
  type TreeReading,
  throwIfAborted,
  tokenBatch,
} from "@layerfold/core";
import { type OnnxTensor, onnxTensor, openSession } from "@layerfold/onnx";
import type { QuantizedWeightOptions } from "./checkpoint-weights.js";
import { checkLength } from "./embedding.js";
import { rotaryTables } from "./rotary-tables.js";
import { checkBatch } from "./sequence.js";
import { treeGraph, visibilityName } from "./tree-graph.js";

export interface TreeDecoderOptions extends QuantizedWeightOptions {
  /** Threads inside an operator; default: the physical cores. */
  readonly threads?: number | undefined;
}

/** A whole model that reads trees of texts. */
export interface TreeDecoder extends TreeModel {
  /** Frees the model; the checkpoint stays open. */
  close(): Promise<void>;
}

/**
 * Whether a model can read trees: attention only, since a state that runs along a row cannot branch, and rotary frequencies that do not change
 * with the length of a text, since a tree has texts of many lengths.
 */
export function readsTrees({ blocks }: Architecture): boolean {
  return blocks.every(({ mixer }) => mixer.kind === "attention" && !mixer.rotary?.inverseFrequenciesFor);
}

/** Where a branch lies among all tokens that were read, and what goes before it. */
interface Span {
  readonly after: number;
  /** First token. */
  readonly from: number;
  readonly length: number;
  /** Position of its first token in its text. */
  readonly position: number;
}

interface Memory extends TokenMemory {
  readonly spans: readonly Span[];
  /** Keys and values of every block, [1, heads, tokens, size] each. */
  readonly values: ReadonlyMap<string, OnnxTensor>;
}

/**
 * Opens a checkpoint to read trees of texts, on the CPU: a whole tree is one row, in which a mask shows each token its own text alone. Weights
 * stay in the checkpoint's own files; memory: as `openDecoder` whole, and a memory of so many tokens.
 *
 * @throws TREE_UNSUPPORTED where `readsTrees` says no, DTYPE_UNSUPPORTED, CHECKPOINT_SCATTERED, CHECKPOINT_QUANTIZED, GRAPH_LOAD
 *
 * @example
 * ```ts
 * const decoder = await openTreeDecoder(await openCheckpoint("models/foldling/checkpoint"));
 * const { scores } = await decoder.read({
 *   branches: [{ after: -1, ids: [0, 827] }, { after: 0, ids: [342] }],
 *   targets: [{ branch: 0, position: 1, id: 342 }, { branch: 1, position: 0, id: 7 }],
 * });
 * assert(scores.logProbabilities[0] < 0);
 * await decoder.close();
 * ```
 */
export async function openTreeDecoder(
  checkpoint: Checkpoint,
  options: TreeDecoderOptions = {},
): Promise<TreeDecoder> {
  const { architecture } = checkpoint;
  const { vocabularySize } = architecture;
  if (!readsTrees(architecture)) {
    throw new LayerfoldError("TREE_UNSUPPORTED", "the model cannot read a tree of texts", {
      wanted: "attention only, and rotary frequencies that do not depend on the length of a text",
      where: checkpoint.directory,
    });
  }
  const tables = rotaryTables(architecture);
  const { graph, memoryShapes, windows, session: sessionOptions } = treeGraph(checkpoint, tables, options);
  const session = await openSession(graph, { threads: options.threads, ...sessionOptions });
  const empty: Memory = {
    branches: 0,
    tokens: 0,
    spans: [],
    values: new Map(
      Array.from(memoryShapes, ([name, shape]) => [
        name,
        onnxTensor("float32", new Float32Array(elementCount(shape)), shape),
      ]),
    ),
  };

  return {
    vocabularySize,
    async read({ after = empty, branches, targets, remember = false }: TreeReading, ctx) {
      throwIfAborted(ctx?.signal);
      const memory = after as Memory;
      const spans = [...memory.spans];
      let end = memory.tokens;
      for (const { after: before, ids } of branches) {
        if (!(before >= -1 && before < spans.length) || ids.length === 0) {
          throw new LayerfoldError("BATCH_INVALID", "a branch has no token, or goes on after a later one", {
            where: `branch ${spans.length}`,
          });
        }
        const parent = before < 0 ? undefined : spans[before];
        const position = parent ? parent.position + parent.length : 0;
        spans.push({ after: before, from: end, length: ids.length, position });
        checkLength(architecture, position + ids.length);
        end += ids.length;
      }
      const read = spans.slice(memory.spans.length);
      const count = end - memory.tokens;
      const batch = tokenBatch([branches.flatMap(({ ids }) => Array.from(ids))]);
      checkBatch(batch, vocabularySize);
      const places = targets.map(({ branch, position }) => read[branch].from - memory.tokens + position);
      // The vocabulary is never asked about no row at all.
      const rows = places.length > 0 ? [...new Set(places)] : [0];
      const rowOf = new Map(rows.map((row, index) => [row, index]));
      const picks = targets.length > 0 ? targets.flatMap(({ id }, i) => [rowOf.get(places[i])!, id]) : [0, 0];
      const longest = Math.max(...read.map(({ position, length }) => position + length));
      const given: Record<string, OnnxTensor> = {
        input_ids: onnxTensor("int32", batch.inputIds, [1, count]),
        positions: onnxTensor("int64", positionsOf(read, count), [1, count]),
        last_position: onnxTensor("int32", Int32Array.of(end - 1), [1]),
        total_length: onnxTensor("int32", Int32Array.of(end), []),
        rows: onnxTensor("int64", BigInt64Array.from(rows, BigInt), [rows.length]),
        picks: onnxTensor("int64", BigInt64Array.from(picks, BigInt), [picks.length / 2, 2]),
        // The operator wants a row for every token of the run, whatever their positions.
        ...tables.values(Math.max(longest, count), longest),
        ...Object.fromEntries(Array.from(memory.values, ([name, value]) => [`past.${name}`, value])),
      };
      for (const window of windows) {
        given[visibilityName(window)] = onnxTensor(
          "float32",
          visibility(spans, memory.spans.length, memory.tokens, end, window),
          [1, 1, count, end],
        );
      }
      const wanted = remember ? Array.from(memory.values.keys(), (name) => `present.${name}`) : [];
      const result = await session.run(
        Object.fromEntries(Object.entries(given).filter(([name]) => session.inputNames.includes(name))),
        ["log_probabilities", "best", ...wanted],
      );
      const scores = {
        logProbabilities: (result.log_probabilities.data as Float32Array).subarray(0, targets.length),
        best: Int32Array.from(result.best.data as BigInt64Array, Number).subarray(0, targets.length),
      };
      if (!remember) return { scores };
      const values = new Map(Array.from(memory.values.keys(), (name) => [name, result[`present.${name}`]]));
      const remembered: Memory = { branches: spans.length, tokens: end, spans, values };
      return { scores, memory: remembered };
    },
    keep: (memory, branches) => kept(memory as Memory, branches),
    close: () => session.close(),
  };
}

function positionsOf(spans: readonly Span[], count: number): BigInt64Array {
  const positions = new BigInt64Array(count);
  let at = 0;
  for (const { position, length } of spans) {
    for (let i = 0; i < length; i++) positions[at++] = BigInt(position + i);
  }
  return positions;
}

/** [new tokens, all tokens]: 0 at a token's own text as far as it goes, and the window lets it; -infinity elsewhere. */
function visibility(
  spans: readonly Span[],
  firstNew: number,
  past: number,
  total: number,
  window = Number.POSITIVE_INFINITY,
): Float32Array {
  const mask = new Float32Array((total - past) * total).fill(Number.NEGATIVE_INFINITY);
  for (const { after, from, length, position } of spans.slice(firstNew)) {
    for (let i = 0; i < length; i++) {
      const row = (from - past + i) * total;
      mask.fill(0, row + Math.max(from, from + i + 1 - window), row + from + i + 1);
    }
    for (let before = after; before >= 0; before = spans[before].after) {
      const span = spans[before];
      for (let i = 0; i < length; i++) {
        const row = (from - past + i) * total;
        // Tokens of that branch that are still in the window of the token at position + i.
        const hidden = Math.max(0, Math.min(span.length, position + i + 1 - window - span.position));
        mask.fill(0, row + span.from + hidden, row + span.from + span.length);
      }
    }
  }
  return mask;
}

/** A memory of the ways to some branches alone; each way becomes branches of its own where it is not shared. */
function kept(memory: Memory, branches: readonly number[]): Memory {
  const needed = new Set<number>();
  for (const branch of branches) {
    for (let at = branch; at >= 0 && !needed.has(at); at = memory.spans[at].after) needed.add(at);
  }
  const last = branches.filter((branch, i) => branches.indexOf(branch) === i);
  const order = [...[...needed].filter((at) => !last.includes(at)).sort((a, b) => a - b), ...last];
  const place = new Map(order.map((at, index) => [at, index]));
  let end = 0;
  const spans = order.map((at) => {
    const span = memory.spans[at];
    const moved = { ...span, after: span.after < 0 ? -1 : place.get(span.after)!, from: end };
    end += span.length;
    return moved;
  });
  const values = new Map(
    Array.from(memory.values, ([name, { data, shape }]) => {
      const [, heads, tokens, size] = shape;
      const out = new Float32Array(heads * end * size);
      for (let head = 0; head < heads; head++) {
        order.forEach((at, index) => {
          const { from, length } = memory.spans[at];
          const first = (head * tokens + from) * size;
          out.set(
            (data as Float32Array).subarray(first, first + length * size),
            (head * end + spans[index].from) * size,
          );
        });
      }
      return [name, onnxTensor("float32", out, [1, heads, end, size])] as const;
    }),
  );
  return { branches: spans.length, tokens: end, spans, values };
}
