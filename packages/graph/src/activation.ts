import type { Activation } from "@layerfold/core";
import type { GraphBuilder, Value } from "@layerfold/onnx";

/** Applies an activation element by element. */
export function activate(graph: GraphBuilder, x: Value, activation: Activation): Value {
  switch (activation) {
    case "silu":
      return swish(graph, x, 1);
    case "quick_gelu":
      return swish(graph, x, 1.702);
    case "gelu":
      return graph.node("Gelu", [x], { strings: { approximate: "none" } });
    case "gelu_tanh":
      return graph.node("Gelu", [x], { strings: { approximate: "tanh" } });
    case "relu":
      return graph.node("Relu", [x]);
    case "relu_squared": {
      const positive = graph.node("Relu", [x]);
      return graph.node("Mul", [positive, positive]);
    }
  }
}

/**
 * x / (1 + exp(−βx)). Written out, because ONNX Runtime's sigmoid (and QuickGelu on top of it) is a rational approximation with an
 * absolute error: far out on the negative side none of its digits is right, which deep models add up.
 */
function swish(graph: GraphBuilder, x: Value, beta: number): Value {
  const exponential = graph.node("Exp", [
    beta === 1 ? graph.node("Neg", [x]) : graph.node("Mul", [x, graph.constant("float32", -beta)]),
  ]);
  return graph.node("Div", [x, graph.node("Add", [exponential, graph.constant("float32", 1)])]);
}

/** limit · tanh(x / limit): keeps values within ±limit (Gemma 2, arXiv 2408.00118, section 2). */
export function softcap(graph: GraphBuilder, x: Value, limit: number): Value {
  const squashed = graph.node("Tanh", [graph.node("Div", [x, graph.constant("float32", limit)])]);
  return graph.node("Mul", [squashed, graph.constant("float32", limit)]);
}
