import type { MoeSpec } from "@layerfold/core";
import type { Value } from "@layerfold/onnx";
import type { BlockContext } from "./block-context.js";
import { gated } from "./feed-forward.js";
import { blockLinear, inputWidth } from "./linear.js";

/**
 * Sparse mixture of experts on the normed stream (Mixtral, arXiv 2401.04088, section 2.1): a token goes through its `expertsPerToken`
 * best experts by router probability, whose outputs are summed with those probabilities. Every expert multiplies its own tokens only.
 */
export function mixtureOfExperts(context: BlockContext, spec: MoeSpec, x: Value): Value {
  const { graph } = context;
  const last = graph.constant("int64", [-1]);
  const tokens = graph.node("Reshape", [x, graph.constant("int64", [-1, context.hiddenSize])]);
  const probabilities = graph.node("Softmax", [blockLinear(context, tokens, "router")], {
    ints: { axis: -1 },
  });
  // [tokens, expertsPerToken]
  let [weights, experts] = graph.nodes(
    "TopK",
    [probabilities, graph.constant("int64", [spec.expertsPerToken])],
    {
      outputs: 2,
      ints: { axis: -1 },
    },
  );
  if (spec.normalizeWeights) {
    weights = graph.node("Div", [
      weights,
      graph.node("ReduceSum", [weights, last], { ints: { keepdims: 1 } }),
    ]);
  }
  const zero = graph.constant("float32", 0);
  const tokenCount = graph.node("Shape", [tokens], { ints: { end: 1 } });
  const axes = graph.node("Shape", [x], { ints: { end: -1 } });
  const likeInput = (value: Value, width: number) =>
    graph.node("Reshape", [
      value,
      graph.node("Concat", [axes, graph.constant("int64", [width])], { ints: { axis: 0 } }),
    ]);
  let sum = graph.node("Sub", [tokens, tokens]);
  for (let expert = 0; expert < spec.expertCount; expert++) {
    // [chosen, 2]: the tokens that chose this expert, and as their how-manieth.
    const chosen = graph.node("Transpose", [
      graph.node("NonZero", [graph.node("Equal", [experts, graph.constant("int64", expert)])]),
    ]);
    const [rows] = graph.nodes("Split", [chosen], { outputs: 2, ints: { axis: 1, num_outputs: 2 } });
    const input = graph.node("GatherND", [tokens, rows]);
    const role = (part: string) => `experts.${expert}.${part}`;
    const hidden = gated(
      graph,
      blockLinear(context, input, role("gate")),
      blockLinear(context, input, role("up")),
      spec.activation,
    );
    const width = inputWidth(context, role("down"));
    const place = graph.node("Concat", [tokenCount, graph.constant("int64", [width])], { ints: { axis: 0 } });
    const spread = graph.node("ScatterND", [graph.node("Expand", [zero, place]), rows, hidden]);
    context.tap(`experts.${expert}.hidden`, likeInput(spread, width), width);
    const weight = graph.node("Unsqueeze", [graph.node("GatherND", [weights, chosen]), last]);
    const output = graph.node("Mul", [blockLinear(context, hidden, role("down")), weight]);
    sum = graph.node("ScatterND", [sum, rows, output], { strings: { reduction: "add" } });
  }
  return likeInput(sum, context.hiddenSize);
}
