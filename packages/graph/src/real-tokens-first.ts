import type { GraphBuilder, Value } from "@layerfold/onnx";
import type { SequenceValues } from "./block-context.js";

/** A run's tokens with those of each row that are real before its padding, wherever the padding was given. */
export interface RealTokensFirst
  extends Pick<
    SequenceValues,
    "positions" | "tokenPositions" | "keyPositions" | "lastPosition" | "totalLength"
  > {
  readonly ids: Value;
  readonly real: NonNullable<SequenceValues["real"]>;
  /**
   * A value [batch, sequence, width] of those tokens, back in the order in which they were given; at padding that of the row's last real
   * token, since clients continue a row from its last column.
   */
  restore(value: Value): Value;
}

/**
 * Moves padding behind the real tokens, so that GroupQueryAttention, which knows only how many keys of a row are real, sees right padding
 * always: what a row remembers are its real tokens, one after another, and the next run's go behind them. Positions count real tokens.
 * A run that continues must bring real tokens only, or one row only. A row without any real token gives numbers that mean nothing.
 *
 * @param ids - int64 [batch, sequence]
 * @param mask - int64 [batch, total]: 1 for every real token so far, this run's included
 */
export function realTokensFirst(graph: GraphBuilder, ids: Value, mask: Value): RealTokensFirst {
  const int64 = (...values: number[]) => graph.constant("int64", values);
  const one = graph.constant("int64", 1);
  const sum = (values: Value, keepdims: number) =>
    graph.node("ReduceSum", [values, int64(1)], { ints: { keepdims } });
  const shape = graph.node("Shape", [ids]);
  const total = graph.node("Shape", [mask], { ints: { start: 1 } });
  const length = graph.node("Shape", [ids], { ints: { start: 1 } });
  const isReal = graph.node("Slice", [mask, graph.node("Sub", [total, length]), total, int64(1)]);
  const counts = sum(isReal, 1);

  // Where each token goes: real ones and padding keep their order among themselves.
  const real = graph.cast(isReal, "bool");
  const place = graph.node("CumSum", [isReal, one], { ints: { exclusive: 1 } });
  const isPadding = graph.node("Sub", [one, isReal]);
  const paddingBefore = graph.node("CumSum", [isPadding, one], { ints: { exclusive: 1 } });
  const paddingPlace = graph.node("Add", [counts, paddingBefore]);
  const lastReal = graph.node("Sub", [counts, one]);

  const column = graph.node("Range", [graph.constant("int64", 0), graph.node("Squeeze", [length]), one]);
  const realSoFar = sum(mask, 1);
  const first = graph.node("Sub", [realSoFar, counts]);
  const source = graph.node("Unsqueeze", [graph.node("Where", [real, place, lastReal]), int64(2)]);
  const last = graph.node("Sub", [sum(mask, 0), one]);
  const positions = graph.node("Expand", [graph.node("Add", [first, column]), shape]);
  return {
    ids: graph.node("ScatterElements", [ids, graph.node("Where", [real, place, paddingPlace]), ids], {
      ints: { axis: 1 },
    }),
    positions,
    tokenPositions: graph.cast(positions, "int32"),
    keyPositions: graph.cast(
      graph.node("Range", [graph.constant("int64", 0), graph.node("Squeeze", [total]), one]),
      "int32",
    ),
    lastPosition: graph.cast(graph.node("Max", [last, int64(0)]), "int32"),
    totalLength: graph.cast(graph.node("Squeeze", [total]), "int32"),
    real: {
      mask: graph.node("Unsqueeze", [graph.cast(graph.node("Less", [column, counts]), "float32"), int64(2)]),
      counts: graph.node("Squeeze", [counts, int64(1)]),
    },
    restore: (value) => graph.node("GatherND", [value, source], { ints: { batch_dims: 1 } }),
  };
}
