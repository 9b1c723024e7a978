import type { Checkpoint, FloatReader } from "@layerfold/checkpoint";
import { elementCount } from "@layerfold/core";
import {
  type DeviceOptions,
  graphBuilder,
  type OnnxTensor,
  onnxTensor,
  openSession,
  type Session,
  type Value,
} from "@layerfold/onnx";
import { checkpointWeights, type QuantizedWeightOptions } from "./checkpoint-weights.js";
import { finalNormGraph, type Head, headOutput, openHead } from "./head.js";
import { denseProduct } from "./linear.js";

/** Bytes of one slice of the projection, float32. */
const sliceBytes = 2 ** 27;
/** Bytes of logits that are in memory at a time: many rows for a slice, since each product lays the slice out anew. */
const logitBytes = 2 ** 27;

/**
 * The head of a checkpoint whose vocabulary projection may be larger than what should be in memory: then it is read and multiplied slice
 * by slice, every time that it is asked, so ask about many rows at once. What each slice adds to a row's softmax is summed in float64.
 *
 * @param headBytes - a projection that is smaller than this, as float32, or quantised, is opened whole
 */
export async function slicedHead(
  checkpoint: Checkpoint,
  reader: FloatReader,
  headBytes: number,
  options: QuantizedWeightOptions & DeviceOptions & { readonly threads?: number | undefined },
): Promise<Head> {
  const { architecture } = checkpoint;
  const { head, hiddenSize, vocabularySize } = architecture;
  const weight = checkpoint.tensors.get(head.weight);
  const whole =
    !weight || options.quantizedWeights?.has(head.weight) || 4 * elementCount(weight.shape) <= headBytes;
  if (whole) return openHead(checkpoint, options);

  const width = weight.shape[1];
  const sliceRows = Math.min(
    vocabularySize,
    Math.max(1, Math.floor(Math.min(sliceBytes, headBytes) / (4 * width))),
  );
  const chunkRows = Math.max(1, Math.floor(logitBytes / (4 * sliceRows)));
  const bias = head.bias === undefined ? undefined : (await checkpoint.read(head.bias)).data;
  const weights = checkpointWeights(checkpoint, options);
  const { threads, device, allowFallback } = options;
  const sessionOptions = { threads, device, allowFallback };

  const norm = graphBuilder({ device });
  const normed = finalNormGraph(
    norm,
    architecture,
    weights,
    norm.input("rows", "float32", ["count", hiddenSize]),
  );
  norm.output("normed", normed, "float32", ["count", width]);
  const normSession = await openSession(norm.build(), { ...sessionOptions, ...weights.session });

  async function openSlice(scored: boolean): Promise<Session> {
    const graph = graphBuilder({ device });
    const x = graph.input("x", "float32", ["count", width]);
    const slice = graph.input("weight", "float32", ["slice", width]);
    const added = bias && graph.input("bias", "float32", ["slice"]);
    const logits: Value = headOutput(graph, architecture, denseProduct(graph, x, slice, "out-in"), added);
    if (!scored) {
      graph.output("logits", logits, "float32", ["count", "slice"]);
      return openSession(graph.build(), sessionOptions);
    }
    const last = graph.constant("int64", [1]);
    const targets = graph.node("Unsqueeze", [graph.input("targets", "int64", ["count"]), last]);
    const chosen = graph.node("GatherElements", [logits, targets], { ints: { axis: 1 } });
    graph.output("chosen", graph.node("Squeeze", [chosen, last]), "float32", ["count"]);
    const sum = graph.node("ReduceLogSumExp", [logits, last], { ints: { keepdims: 0 } });
    graph.output("log_sum", sum, "float32", ["count"]);
    return openSession(graph.build(), sessionOptions);
  }

  const sessions = new Map<boolean, Promise<Session>>();
  function slices(scored: boolean): Promise<Session> {
    const known = sessions.get(scored) ?? openSlice(scored);
    sessions.set(scored, known);
    return known;
  }

  async function normedRows(rows: Float32Array): Promise<Float32Array> {
    const count = rows.length / hiddenSize;
    const { normed: values } = await normSession.run({
      rows: onnxTensor("float32", rows, [count, hiddenSize]),
    });
    return values.data as Float32Array;
  }

  /** Runs rows through slice after slice, the next of which is read meanwhile. */
  async function eachSlice(
    rows: Float32Array,
    scored: boolean,
    more: (firstRow: number, count: number, firstId: number, ids: number) => Record<string, OnnxTensor>,
    take: (
      values: Record<string, OnnxTensor>,
      firstRow: number,
      count: number,
      firstId: number,
      ids: number,
    ) => void,
  ): Promise<void> {
    const session = await slices(scored);
    const x = await normedRows(rows);
    const count = x.length / width;
    const idsAt = (first: number) => Math.min(sliceRows, vocabularySize - first);
    const readSlice = (first: number) =>
      reader.read([{ tensor: weight!, firstRow: first, rows: idsAt(first) }]);
    let next: Promise<Float32Array[]> | undefined = readSlice(0);
    for (let firstId = 0; firstId < vocabularySize; firstId += sliceRows) {
      const ids = idsAt(firstId);
      const [values] = await next!;
      next = firstId + ids < vocabularySize ? readSlice(firstId + ids) : undefined;
      // A later slice that cannot be read is told when its turn comes.
      next?.catch(() => undefined);
      const slice = {
        weight: onnxTensor("float32", values, [ids, width]),
        ...(bias && { bias: onnxTensor("float32", bias.subarray(firstId, firstId + ids), [ids]) }),
      };
      for (let first = 0; first < count; first += chunkRows) {
        const size = Math.min(chunkRows, count - first);
        const part = x.subarray(first * width, (first + size) * width);
        const result = await session.run({
          x: onnxTensor("float32", part, [size, width]),
          ...slice,
          ...more(first, size, firstId, ids),
        });
        take(result, first, size, firstId, ids);
      }
      reader.recycle([values]);
    }
  }

  return {
    async logits(rows) {
      const out = new Float32Array((rows.length / hiddenSize) * vocabularySize);
      await eachSlice(
        rows,
        false,
        () => ({}),
        ({ logits }, firstRow, count, firstId, ids) => {
          const values = logits.data as Float32Array;
          for (let r = 0; r < count; r++) {
            out.set(values.subarray(r * ids, (r + 1) * ids), (firstRow + r) * vocabularySize + firstId);
          }
        },
      );
      return out;
    },
    async logProbabilities(rows, targets) {
      const count = targets.length;
      const chosen = new Float64Array(count);
      const largest = new Float64Array(count).fill(Number.NEGATIVE_INFINITY);
      const sums = new Float64Array(count);
      const within = (target: number, firstId: number, ids: number) =>
        target >= firstId && target < firstId + ids;
      await eachSlice(
        rows,
        true,
        (firstRow, size, firstId, ids) => ({
          targets: onnxTensor(
            "int64",
            BigInt64Array.from(targets.subarray(firstRow, firstRow + size), (target) =>
              BigInt(within(target, firstId, ids) ? target - firstId : 0),
            ),
            [size],
          ),
        }),
        (result, firstRow, size, firstId, ids) => {
          const logits = result.chosen.data as Float32Array;
          const logSums = result.log_sum.data as Float32Array;
          for (let r = 0; r < size; r++) {
            const row = firstRow + r;
            if (within(targets[row], firstId, ids)) chosen[row] = logits[r];
            const high = Math.max(largest[row], logSums[r]);
            sums[row] = sums[row] * Math.exp(largest[row] - high) + Math.exp(logSums[r] - high);
            largest[row] = high;
          }
        },
      );
      return Float32Array.from(chosen, (logit, row) => logit - (largest[row] + Math.log(sums[row])));
    },
    async close() {
      await normSession.close();
      for (const session of sessions.values()) await (await session).close();
    },
  };
}
