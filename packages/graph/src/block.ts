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

  const mixerInput = context.tap("attention.input", norm(stream, spec.mixerNorm), hiddenSize);
  const mixed =
    spec.mixer.kind === "attention"
      ? attention(context, spec.mixer, mixerInput)
      : mamba(context, spec.mixer, mixerInput);
  const mixerUpdate = context.tap("attention.update", update(mixed, spec.mixerPostNorm), hiddenSize);

  const parallel = spec.residual === "parallel";
  const sum = graph.node("Add", [stream, mixerUpdate]);
  const middle = context.tap("residual.mid", parallel ? stream : norm(sum, spec.mixerSumNorm), hiddenSize);
  const mlpInput = context.tap(
    "mlp.input",
    parallel && !spec.feedForwardNorm ? mixerInput : norm(middle, spec.feedForwardNorm),
    hiddenSize,
  );
  const transformed =
    spec.feedForward.kind === "mlp"
      ? feedForward(context, spec.feedForward, mlpInput)
      : mixtureOfExperts(context, spec.feedForward, mlpInput);
  const mlpUpdate = context.tap("mlp.update", update(transformed, spec.feedForwardPostNorm), hiddenSize);
  return norm(graph.node("Add", [parallel ? sum : middle, mlpUpdate]), spec.feedForwardSumNorm);
}
