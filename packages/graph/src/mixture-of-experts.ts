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
  if (graph.device !== "cpu") return allExperts(context, spec, x);
  const last = graph.constant("int64", [-1]);
  const tokens = graph.node("Reshape", [x, graph.constant("int64", [-1, context.hiddenSize])]);
  const { weights, experts } = routed(context, spec, tokens);
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

/**
 * The same with every token through every expert, most of them times 0: `expertCount / expertsPerToken` times the work, but nothing whose
 * size hangs on the router's choice, which a device would have to ask the CPU about.
 */
function allExperts(context: BlockContext, spec: MoeSpec, x: Value): Value {
  const { graph } = context;
  const { probabilities, weights, experts } = routed(context, spec, x);
  const zero = graph.constant("float32", 0);
  // [batch, sequence, experts]: 0 at those that were not chosen.
  const none = graph.node("Mul", [probabilities, zero]);
  const shares = graph.node("ScatterElements", [none, experts, weights], { ints: { axis: -1 } });
  const chosen = graph.node(
    "ScatterElements",
    [none, experts, graph.node("Add", [graph.node("Mul", [weights, zero]), graph.constant("float32", 1)])],
    { ints: { axis: -1 } },
  );
  const column = (value: Value, expert: number) =>
    graph.node("Slice", [
      value,
      graph.constant("int64", [expert]),
      graph.constant("int64", [expert + 1]),
      graph.constant("int64", [-1]),
    ]);
  let sum: Value | undefined;
  for (let expert = 0; expert < spec.expertCount; expert++) {
    const role = (part: string) => `experts.${expert}.${part}`;
    const hidden = gated(
      graph,
      blockLinear(context, x, role("gate")),
      blockLinear(context, x, role("up")),
      spec.activation,
    );
    const own = graph.node("Mul", [hidden, column(chosen, expert)]);
    context.tap(`experts.${expert}.hidden`, own, inputWidth(context, role("down")));
    const output = graph.node("Mul", [blockLinear(context, hidden, role("down")), column(shares, expert)]);
    sum = sum === undefined ? output : graph.node("Add", [sum, output]);
  }
  return sum as Value;
}

/** Each token's best experts and how much each counts, [.., expertsPerToken]. */
function routed(context: BlockContext, spec: MoeSpec, tokens: Value) {
  const { graph } = context;
  const probabilities = graph.node("Softmax", [blockLinear(context, tokens, "router")], {
    ints: { axis: -1 },
  });
  const [best, experts] = graph.nodes(
    "TopK",
    [probabilities, graph.constant("int64", [spec.expertsPerToken])],
    { outputs: 2, ints: { axis: -1 } },
  );
  if (!spec.normalizeWeights) return { probabilities, weights: best, experts };
  const last = graph.constant("int64", [-1]);
  const sum = graph.node("ReduceSum", [best, last], { ints: { keepdims: 1 } });
  return { probabilities, weights: graph.node("Div", [best, sum]), experts };
}
