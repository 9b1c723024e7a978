import type { Checkpoint } from "@layerfold/checkpoint";
import type { BlockSpec } from "@layerfold/core";
import type { GraphBuilder, Value } from "@layerfold/onnx";
import type { BlockContext } from "./block-context.js";
import type { CheckpointWeights } from "./checkpoint-weights.js";

/** A block's context over the checkpoint's own tensors. */
export function storedBlock(parts: {
  readonly graph: GraphBuilder;
  readonly checkpoint: Checkpoint;
  readonly weights: CheckpointWeights;
  readonly spec: BlockSpec;
  readonly sequence: BlockContext["sequence"];
  readonly state?: BlockContext["state"];
}): BlockContext {
  const { graph, checkpoint, weights, spec, sequence, state } = parts;
  const nameOf = (role: string) => spec.tensors.get(role) ?? role;
  // Several parts may read one tensor; its conversion is written once.
  const values = new Map<string, Value>();
  return {
    graph,
    spec,
    hiddenSize: checkpoint.architecture.hiddenSize,
    sequence,
    state,
    has: (role) => spec.tensors.has(role),
    weight(role) {
      const name = nameOf(role);
      const value = values.get(name) ?? weights.float(graph, name);
      values.set(name, value);
      return value;
    },
    product: (x, role) => weights.product(graph, x, nameOf(role), spec.linearLayout),
    shape: (role) => spec.shapes.get(role) ?? [],
    tap: (_, value) => value,
  };
}
