import type { ActivationRounding, GraphBuilder, Value } from "@layerfold/onnx";

/**
 * Rounds every token's values as dynamic integer activations would be (compressed-tensors' symmetric per-token scheme, the activations
 * of W8A8): s = max|x| / (2^(bits−1) − ½), x' = s · clamp(round(x / s), −2^(bits−1), 2^(bits−1) − 1), halves to even.
 */
export function roundTokens(graph: GraphBuilder, x: Value, bits: number): Value {
  const half = 2 ** (bits - 1);
  const scale = tokenScale(graph, x, half - 0.5);
  return scaled(graph, integerCodes(graph, x, scale, half), scale);
}

/** Rounds a linear map's inputs as its file's config says. */
export function roundActivations(
  graph: GraphBuilder,
  x: Value,
  { encoding, scale: fixed }: ActivationRounding,
): Value {
  // The largest code's magnitude: 127.5 lets both ends of int8 be used, 448 is float8_e4m3's largest number.
  const largest = encoding === "int8" ? 127.5 : 448;
  const scale = fixed === undefined ? tokenScale(graph, x, largest) : graph.constant("float32", [fixed]);
  if (encoding === "int8") return scaled(graph, integerCodes(graph, x, scale, 128), scale);
  const limit = graph.constant("float32", 448);
  const within = graph.node("Clip", [graph.node("Div", [x, scale]), graph.constant("float32", -448), limit]);
  return scaled(graph, graph.cast(graph.cast(within, "float8_e4m3"), "float32"), scale);
}

/** max|x| of every token over the largest code. */
function tokenScale(graph: GraphBuilder, x: Value, largestCode: number): Value {
  const largest = graph.node("ReduceMax", [graph.node("Abs", [x]), graph.constant("int64", [-1])]);
  // A token of zeros alone stays so, whatever it is divided by.
  const positive = graph.node("Max", [largest, graph.constant("float32", 1e-30)]);
  return graph.node("Div", [positive, graph.constant("float32", largestCode)]);
}

function integerCodes(graph: GraphBuilder, x: Value, scale: Value, half: number): Value {
  const codes = graph.node("Round", [graph.node("Div", [x, scale])]);
  return graph.node("Clip", [codes, graph.constant("float32", -half), graph.constant("float32", half - 1)]);
}

function scaled(graph: GraphBuilder, codes: Value, scale: Value): Value {
  return graph.node("Mul", [codes, scale]);
}
