import type { NormSpec } from "@layerfold/core";
import type { Value } from "@layerfold/onnx";
import { attention } from "./attention.js";
import type { BlockContext } from "./block-context.js";
import { feedForward } from "./feed-forward.js";
import { mamba } from "./mamba.js";
import { mixtureOfExperts } from "./mixture-of-experts.js";
import { normalize } from "./norm.js";

/** Writes one decoder block: the stream before it to the stream after it, [batch, sequence, hidden]. */
export function block(context: BlockContext, stream: Value): Value {
  const { graph, spec, hiddenSize } = context;
  const norm = (x: Value, form: NormSpec | undefined) =>
    form ? normalize(graph, x, form, hiddenSize, context.weight) : x;
  const update = (x: Value, form: NormSpec | undefined) => {
    const normed = norm(x, form);
    return spec.residualScale === undefined
      ? normed
      : graph.node("Mul", [normed, graph.constant("float32", spec.residualScale)]);
  };

  const mixerInput = norm(stream, spec.mixerNorm);
  context.tap("attention.input", mixerInput, hiddenSize);
  const mixed =
    spec.mixer.kind === "attention"
      ? attention(context, spec.mixer, mixerInput)
      : mamba(context, spec.mixer, mixerInput);
  const mixerUpdate = update(mixed, spec.mixerPostNorm);
  context.tap("attention.update", mixerUpdate, hiddenSize);

  const parallel = spec.residual === "parallel";
  const middle = parallel ? stream : norm(graph.node("Add", [stream, mixerUpdate]), spec.mixerSumNorm);
  context.tap("residual.mid", middle, hiddenSize);
  const mlpInput = parallel && !spec.feedForwardNorm ? mixerInput : norm(middle, spec.feedForwardNorm);
  context.tap("mlp.input", mlpInput, hiddenSize);
  const transformed =
    spec.feedForward.kind === "mlp"
      ? feedForward(context, spec.feedForward, mlpInput)
      : mixtureOfExperts(context, spec.feedForward, mlpInput);
  const mlpUpdate = update(transformed, spec.feedForwardPostNorm);
  context.tap("mlp.update", mlpUpdate, hiddenSize);

  const base = parallel ? graph.node("Add", [stream, mixerUpdate]) : middle;
  return norm(graph.node("Add", [base, mlpUpdate]), spec.feedForwardSumNorm);
}
