import type { AttentionSpec } from "@layerfold/core";
import type { Value } from "@layerfold/onnx";
import { softcap } from "./activation.js";
import { type HeadCounts, reshape } from "./attention.js";
import type { BlockContext } from "./block-context.js";

/** What masked scores become: nothing is left of them behind a softmax. */
const masked = -3e38;

/**
 * Causal attention in ONNX's own operators, float32, for devices whose GroupQueryAttention will not do: CUDA's takes float16 and bfloat16
 * only; WebGPU's (onnxruntime-node 1.30) leaves a softcap out, and on SwiftShader gave wrong values for 65 tokens (12 were right). Query, key and value [batch, sequence,
 * heads · size] give [batch, sequence, heads · size]. Scores of all pairs of tokens are in memory: batch · heads · sequence · total · 4 bytes,
 * some three times.
 */
export function plainAttention(
  context: BlockContext,
  spec: AttentionSpec,
  { headCount, keyValueHeadCount }: HeadCounts,
  parts: { readonly query: Value; readonly key: Value; readonly value: Value },
): Value {
  const { graph, state } = context;
  const { headSize } = spec;
  const transpose = (value: Value, ...perm: number[]) => graph.node("Transpose", [value], { ints: { perm } });
  /** [batch, key/value heads, total, size], those of past runs before this one's. */
  const remembered = (name: "key" | "value") => {
    const split = reshape(context, parts[name], [0, 0, keyValueHeadCount, headSize]);
    const own = transpose(split, 0, 2, 1, 3);
    if (!state) return own;
    const past = state.past(name, ["batch", keyValueHeadCount, "past", headSize]);
    const all = graph.node("Concat", [past, own], { ints: { axis: 2 } });
    state.present(name, all, ["batch", keyValueHeadCount, "total", headSize]);
    return all;
  };
  /** One group axis of length 1: a key/value head serves all queries of its group. */
  const shared = (value: Value) => graph.node("Unsqueeze", [value, graph.constant("int64", [2])]);

  const group = headCount / keyValueHeadCount;
  const split = reshape(context, parts.query, [0, 0, keyValueHeadCount, group, headSize]);
  // [batch, key/value heads, group, sequence, size]
  const queries = transpose(split, 0, 2, 3, 1, 4);
  const keys = transpose(shared(remembered("key")), 0, 1, 2, 4, 3);
  const products = graph.node("MatMul", [queries, keys]);
  let scores = graph.node("Mul", [products, graph.constant("float32", spec.scale)]);
  if (spec.softcap !== undefined) scores = softcap(graph, scores, spec.softcap);
  if (context.sequence.visibility) {
    const visibility = context.sequence.visibility(spec.slidingWindow);
    // [1, 1, 1, sequence, total]
    scores = graph.node("Add", [scores, graph.node("Unsqueeze", [visibility, graph.constant("int64", [0])])]);
  } else
    for (const unseen of hidden(context, spec)) {
      scores = graph.node("Where", [unseen, graph.constant("float32", masked), scores]);
    }
  const shares = graph.node("Softmax", [scores], { ints: { axis: -1 } });
  const mixed = graph.node("MatMul", [shares, shared(remembered("value"))]);
  return reshape(context, transpose(mixed, 0, 3, 1, 2, 4), [0, 0, headCount * headSize]);
}

/** bool [sequence, total] each: true at keys that a query must not see, those that come after it and those before its window. */
function hidden({ graph, sequence }: BlockContext, { slidingWindow }: AttentionSpec): Value[] {
  const query = graph.node("Unsqueeze", [sequence.tokenPositions, graph.constant("int64", [1])]);
  const key = graph.node("Unsqueeze", [sequence.keyPositions, graph.constant("int64", [0])]);
  const later = graph.node("Greater", [key, query]);
  if (slidingWindow === undefined) return [later];
  const before = graph.node("Sub", [query, graph.constant("int32", slidingWindow)]);
  return [later, graph.node("LessOrEqual", [key, before])];
}
