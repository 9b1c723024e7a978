import type { Checkpoint } from "@layerfold/checkpoint";
import { type GraphBuilder, graphBuilder } from "@layerfold/onnx";
import { block } from "./block.js";
import type { SequenceValues } from "./block-context.js";
import { checkpointWeights, type QuantizedWeightOptions } from "./checkpoint-weights.js";
import { embedding } from "./embedding.js";
import { headGraph } from "./head.js";
import type { RotaryTables } from "./rotary-tables.js";
import { rotaryInputs } from "./sequence.js";
import { storedBlock } from "./stored-block.js";

/** The input that says what tokens may see. @param window - how far back, absent: all */
export const visibilityName = (window: number | undefined) => `visibility.${window ?? "all"}`;

/** Writes the whole model as one graph over one row. */
export function treeGraph(checkpoint: Checkpoint, tables: RotaryTables, options: QuantizedWeightOptions) {
  const { architecture } = checkpoint;
  const { hiddenSize, blocks } = architecture;
  const weights = checkpointWeights(checkpoint, options);
  const graph = graphBuilder();
  const windows = new Set<number | undefined>();
  const memoryShapes = new Map<string, readonly number[]>();
  const sequence = treeValues(graph, tables, windows);
  const ids = graph.input("input_ids", "int32", ["batch", "sequence"]);
  let stream = embedding(graph, architecture, weights, sequence, ids);
  blocks.forEach((spec, layer) => {
    const state = {
      past(name: string, shape: readonly (number | string)[]) {
        memoryShapes.set(
          `${layer}.${name}`,
          shape.map((length) => (length === "batch" ? 1 : length === "past" ? 0 : Number(length))),
        );
        return graph.input(`past.${layer}.${name}`, "float32", shape);
      },
      present(name: string, value: string, shape: readonly (number | string)[]) {
        graph.output(`present.${layer}.${name}`, value, "float32", shape);
      },
    };
    stream = block(storedBlock({ graph, checkpoint, weights, spec, sequence, state }), stream);
  });
  const flat = graph.node("Reshape", [stream, graph.constant("int64", [-1, hiddenSize])]);
  const rows = graph.node("Gather", [flat, graph.input("rows", "int64", ["rows"])], { ints: { axis: 0 } });
  const logits = headGraph(graph, architecture, weights, rows);
  const picks = graph.input("picks", "int64", ["targets", 2]);
  const all = graph.node("LogSoftmax", [logits], { ints: { axis: -1 } });
  graph.output("log_probabilities", graph.node("GatherND", [all, picks]), "float32", ["targets"]);
  const best = graph.node("ArgMax", [logits], { ints: { axis: -1, keepdims: 0 } });
  const rowOf = graph.node("Gather", [picks, graph.constant("int64", 0)], { ints: { axis: 1 } });
  graph.output("best", graph.node("Gather", [best, rowOf], { ints: { axis: 0 } }), "int64", ["targets"]);
  return { graph: graph.build(), memoryShapes, windows, session: weights.session };
}

/** What blocks read beside the stream where a row is a tree. */
function treeValues(
  graph: GraphBuilder,
  tables: RotaryTables,
  windows: Set<number | undefined>,
): SequenceValues {
  return {
    get lastPosition() {
      return graph.input("last_position", "int32", ["batch"]);
    },
    get totalLength() {
      return graph.input("total_length", "int32", []);
    },
    get positions() {
      return graph.input("positions", "int64", ["batch", "sequence"]);
    },
    get tokenPositions() {
      return graph.cast(graph.input("positions", "int64", ["batch", "sequence"]), "int32");
    },
    get keyPositions(): never {
      throw new Error("a tree's keys have no positions of their own");
    },
    visibility(window) {
      windows.add(window);
      return graph.input(visibilityName(window), "float32", [1, 1, "sequence", "total"]);
    },
    rotaryTable: rotaryInputs(graph, tables),
  };
}
