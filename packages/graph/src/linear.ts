import type { BlockSpec, Role } from "@layerfold/core";
import type { GraphBuilder, Value } from "@layerfold/onnx";
import type { BlockContext } from "./block-context.js";
import { roundTokens } from "./round-activations.js";

/** x · Wᵀ ([out, in] weights as they lie) or x · W ([in, out]). */
export function denseProduct(
  graph: GraphBuilder,
  x: Value,
  weight: Value,
  layout: BlockSpec["linearLayout"],
): Value {
  if (graph.device === "webgpu") {
    // Its provider has no FusedMatMul. A weight of the checkpoint is turned once, when the graph is loaded.
    const columns =
      layout === "out-in" ? graph.node("Transpose", [weight], { ints: { perm: [1, 0] } }) : weight;
    return graph.node("MatMul", [x, columns]);
  }
  const transB = layout === "out-in" ? 1 : 0;
  return graph.node("FusedMatMul", [x, weight], { contrib: true, ints: { transB } });
}

/** The roles whose inputs are quantised where activations are: never a router's or Mamba's. */
const quantized = /^(attention|mlp|experts)\./;

/** The block's linear map of that role, with its bias where it has one. */
export function blockLinear(context: BlockContext, x: Value, role: Role): Value {
  const { graph, activationBits } = context;
  const input = activationBits && quantized.test(role) ? roundTokens(graph, x, activationBits) : x;
  const product = context.product(input, role);
  const bias = `${role}.bias`;
  return context.has(bias) ? graph.node("Add", [product, context.weight(bias)]) : product;
}

/** Outputs of the block's linear map of that role. */
export function outputWidth(context: BlockContext, role: Role): number {
  return context.shape(role)[context.spec.linearLayout === "out-in" ? 0 : 1];
}

/** Inputs of the block's linear map of that role. */
export function inputWidth(context: BlockContext, role: Role): number {
  return context.shape(role)[context.spec.linearLayout === "out-in" ? 1 : 0];
}
