import { type Architecture, LayerfoldError } from "@layerfold/core";
import type { GraphBuilder, Value } from "@layerfold/onnx";
import type { SequenceValues } from "./block-context.js";
import type { CheckpointWeights } from "./checkpoint-weights.js";

/** Writes the embedding: token ids int32 [batch, sequence] to the stream before block 0, [batch, sequence, hidden]. */
export function embedding(
  graph: GraphBuilder,
  architecture: Architecture,
  weights: CheckpointWeights,
  sequence: SequenceValues,
  ids: Value,
): Value {
  const { tokens, scale, projection, positions } = architecture.embedding;
  let stream = weights.rows(graph, tokens, ids);
  if (scale !== undefined) stream = graph.node("Mul", [stream, graph.constant("float32", scale)]);
  if (projection !== undefined) stream = weights.product(graph, stream, projection, "out-in");
  if (positions) {
    const offset = graph.constant("int32", positions.offset);
    const rows = graph.node("Add", [sequence.tokenPositions, offset]);
    const learned = weights.rows(graph, positions.weight, rows);
    stream = graph.node("Add", [stream, learned]);
  }
  return stream;
}

/** @throws SEQUENCE_TOO_LONG where the model has no position embedding for the last token */
export function checkLength(architecture: Architecture, length: number): void {
  if (architecture.embedding.positions && length > architecture.maxPositionEmbeddings) {
    throw new LayerfoldError(
      "SEQUENCE_TOO_LONG",
      "the model has learned positions for shorter sequences only",
      {
        wanted: `at most ${architecture.maxPositionEmbeddings} tokens`,
        got: `${length}`,
      },
    );
  }
}
