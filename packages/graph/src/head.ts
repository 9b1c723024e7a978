import type { Checkpoint } from "@layerfold/checkpoint";
import type { Architecture } from "@layerfold/core";
import {
  type DeviceOptions,
  type GraphBuilder,
  graphBuilder,
  onnxTensor,
  openSession,
  type Value,
} from "@layerfold/onnx";
import { softcap } from "./activation.js";
import {
  type CheckpointWeights,
  checkpointWeights,
  type QuantizedWeightOptions,
} from "./checkpoint-weights.js";
import { normalize } from "./norm.js";

/** Bytes of logits that are in memory at a time. */
const chunkBytes = 2 ** 26;

/** Final norm and vocabulary projection, on rows of the stream. */
export interface Head {
  /** Logits [count, vocabulary] of rows [count, hidden]. */
  logits(rows: Float32Array): Promise<Float32Array>;
  /** log p(targets[i] | rows[i]) in nats, [count]; the logits never leave ONNX Runtime. */
  logProbabilities(rows: Float32Array, targets: Int32Array): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Opens the head of a checkpoint. Rows are taken a few at a time, so that few logits are in memory. */
export async function openHead(
  checkpoint: Checkpoint,
  options: QuantizedWeightOptions & DeviceOptions & { readonly threads?: number | undefined } = {},
): Promise<Head> {
  const { threads, device, allowFallback } = options;
  const { hiddenSize, vocabularySize } = checkpoint.architecture;
  const weights = checkpointWeights(checkpoint, options);
  const graph = graphBuilder({ device });
  const logits = headGraph(
    graph,
    checkpoint.architecture,
    weights,
    graph.input("rows", "float32", ["count", hiddenSize]),
  );
  graph.output("logits", logits, "float32", ["count", vocabularySize]);
  const targets = graph.input("targets", "int64", ["scored"]);
  const scored = graph.subgraph();
  scored.output("scored", logProbability(scored, logits, targets), "float32", ["scored"]);
  const unscored = graph.subgraph();
  unscored.output("unscored", unscored.constant("float32", []), "float32", [0]);
  const score = graph.node("If", [graph.input("score", "bool", [])], {
    graphs: { then_branch: scored, else_branch: unscored },
  });
  graph.output("log_probabilities", score, "float32", ["scored"]);
  const session = await openSession(graph.build(), { threads, device, allowFallback, ...weights.session });

  const chunkRows = Math.max(1, Math.floor(chunkBytes / (4 * vocabularySize)));
  async function run(
    rows: Float32Array,
    targets: Int32Array | undefined,
    take: (values: Float32Array, firstRow: number) => void,
  ): Promise<void> {
    const count = rows.length / hiddenSize;
    for (let first = 0; first < count; first += chunkRows) {
      const size = Math.min(chunkRows, count - first);
      const chosen = BigInt64Array.from(targets?.subarray(first, first + size) ?? [], BigInt);
      const name = targets ? "log_probabilities" : "logits";
      const result = await session.run(
        {
          rows: onnxTensor("float32", rows.subarray(first * hiddenSize, (first + size) * hiddenSize), [
            size,
            hiddenSize,
          ]),
          targets: onnxTensor("int64", chosen, [chosen.length]),
          score: onnxTensor("bool", Uint8Array.of(targets ? 1 : 0), []),
        },
        [name],
      );
      take(result[name].data as Float32Array, first);
    }
  }
  return {
    async logits(rows) {
      const out = new Float32Array((rows.length / hiddenSize) * vocabularySize);
      await run(rows, undefined, (values, first) => out.set(values, first * vocabularySize));
      return out;
    },
    async logProbabilities(rows, targets) {
      const out = new Float32Array(targets.length);
      await run(rows, targets, (values, first) => out.set(values, first));
      return out;
    },
    close: () => session.close(),
  };
}

/** log softmax(logits)[targets]: [count, vocabulary] and int64 [count] to [count]. */
function logProbability(graph: GraphBuilder, logits: Value, targets: Value): Value {
  const last = graph.constant("int64", [1]);
  const all = graph.node("LogSoftmax", [logits], { ints: { axis: -1 } });
  const chosen = graph.node("GatherElements", [all, graph.node("Unsqueeze", [targets, last])], {
    ints: { axis: 1 },
  });
  return graph.node("Squeeze", [chosen, last]);
}

/** Final norm and vocabulary projection: [rows, hidden] to logits [rows, vocabulary]. */
export function headGraph(
  graph: GraphBuilder,
  architecture: Architecture,
  weights: CheckpointWeights,
  rows: Value,
): Value {
  const { head } = architecture;
  const x = finalNormGraph(graph, architecture, weights, rows);
  const bias = head.bias === undefined ? undefined : weights.float(graph, head.bias);
  return headOutput(graph, architecture, weights.product(graph, x, head.weight, "out-in"), bias);
}

/** What the vocabulary projection reads: [rows, hidden] behind the final norm, and narrowed where the family does so. */
export function finalNormGraph(
  graph: GraphBuilder,
  { finalNorm, head, hiddenSize }: Architecture,
  weights: CheckpointWeights,
  rows: Value,
): Value {
  const x = finalNorm
    ? normalize(graph, rows, finalNorm, hiddenSize, (name) => weights.float(graph, name))
    : rows;
  return head.projection === undefined ? x : weights.product(graph, x, head.projection, "out-in");
}

/** Logits of what the vocabulary projection, or some rows of it, gave. */
export function headOutput(
  graph: GraphBuilder,
  { head }: Architecture,
  product: Value,
  bias: Value | undefined,
): Value {
  let logits = bias === undefined ? product : graph.node("Add", [product, bias]);
  if (head.scale !== undefined) logits = graph.node("Mul", [logits, graph.constant("float32", head.scale)]);
  return head.softcap === undefined ? logits : softcap(graph, logits, head.softcap);
}
