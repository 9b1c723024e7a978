import type { Activation, MlpSpec } from "@layerfold/core";
import type { GraphBuilder, Value } from "@layerfold/onnx";
import { activate } from "./activation.js";
import type { BlockContext } from "./block-context.js";
import { blockLinear, inputWidth } from "./linear.js";

/** act(gate) · up. */
export function gated(graph: GraphBuilder, gate: Value, up: Value, activation: Activation): Value {
  return graph.node("Mul", [activate(graph, gate, activation), up]);
}

/** The MLP of a block, on the normed stream. */
export function feedForward(context: BlockContext, spec: MlpSpec, x: Value): Value {
  const { graph } = context;
  let hidden: Value;
  switch (spec.form) {
    case "gated": {
      const gate = blockLinear(context, x, "mlp.gate");
      hidden = gated(graph, gate, blockLinear(context, x, "mlp.up"), spec.activation);
      break;
    }
    case "gated-fused": {
      const both = blockLinear(context, x, "mlp.gate_up");
      const [gate, up] = graph.nodes("Split", [both], { outputs: 2, ints: { axis: -1, num_outputs: 2 } });
      hidden = gated(graph, gate, up, spec.activation);
      break;
    }
    case "plain":
      hidden = activate(graph, blockLinear(context, x, "mlp.up"), spec.activation);
      break;
  }
  hidden = context.tap("mlp.hidden", hidden, inputWidth(context, "mlp.down"));
  return blockLinear(context, hidden, "mlp.down");
}
