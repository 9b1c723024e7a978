import type { GraphBuilder, Value } from "@layerfold/onnx";

/**
 * Rounds every token's values as dynamic integer activations would be (compressed-tensors' symmetric per-token scheme, the activations
 * of W8A8): s = max|x| / (2^(bits−1) − ½), x' = s · clamp(round(x / s), −2^(bits−1), 2^(bits−1) − 1), halves to even.
 */
export function fakeQuantize(graph: GraphBuilder, x: Value, bits: number): Value {
  const number = (value: number) => graph.constant("float32", value);
  const half = 2 ** (bits - 1);
  const largest = graph.node("ReduceMax", [graph.node("Abs", [x]), graph.constant("int64", [-1])]);
  // A token of zeros alone stays so, whatever it is divided by.
  const scale = graph.node("Div", [graph.node("Max", [largest, number(1e-30)]), number(half - 0.5)]);
  const codes = graph.node("Round", [graph.node("Div", [x, scale])]);
  return graph.node("Mul", [graph.node("Clip", [codes, number(-half), number(half - 1)]), scale]);
}
