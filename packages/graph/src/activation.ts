import type { Activation } from "@layerfold/checkpoint";
import type { GraphBuilder, Value } from "@layerfold/onnx";

/** Applies an activation element by element. */
export function activate(graph: GraphBuilder, x: Value, activation: Activation): Value {
  switch (activation) {
    case "silu":
      return graph.node("QuickGelu", [x], { contrib: true, floats: { alpha: 1 } });
    case "quick_gelu":
      return graph.node("QuickGelu", [x], { contrib: true, floats: { alpha: 1.702 } });
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

/** limit · tanh(x / limit): keeps values within ±limit (Gemma 2, arXiv 2408.00118, section 2). */
export function softcap(graph: GraphBuilder, x: Value, limit: number): Value {
  const squashed = graph.node("Tanh", [graph.node("Div", [x, graph.constant("float32", limit)])]);
  return graph.node("Mul", [squashed, graph.constant("float32", limit)]);
}
