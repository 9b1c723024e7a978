import type { NormSpec } from "@layerfold/core";
import type { GraphBuilder, Value } from "@layerfold/onnx";

/**
 * Normalises the last axis.
 * @param size - length of that axis
 * @param parameter - the norm's tensors by the names that the spec gives
 */
export function normalize(
  graph: GraphBuilder,
  x: Value,
  spec: NormSpec,
  size: number,
  parameter: (name: string) => Value,
): Value {
  let gain =
    spec.weight === undefined
      ? graph.constant("float32", new Float32Array(size).fill(1))
      : parameter(spec.weight);
  if (spec.weight !== undefined && spec.weightOffset !== 0) {
    gain = graph.node("Add", [gain, graph.constant("float32", spec.weightOffset)]);
  }
  const operator = spec.kind === "rms" ? "SimplifiedLayerNormalization" : "LayerNormalization";
  const inputs = spec.bias === undefined ? [x, gain] : [x, gain, parameter(spec.bias)];
  return graph.node(operator, inputs, {
    ints: { axis: -1, stash_type: 1 },
    floats: { epsilon: spec.epsilon },
  });
}
