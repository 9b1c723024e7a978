import {
  type BlockView,
  LayerfoldError,
  type NormSpec,
  type Role,
  type Tensor,
  tensor,
} from "@layerfold/core";
import { specOf, vectorOf, withTensors } from "./block-linear.js";

const mixerOutputs = /^(attention\.output|mamba\.out)(\.bias)?$/;
const feedForwardOutputs = /^(mlp|experts\.\d+)\.down(\.bias)?$/;

/**
 * A block that adds `factor` times as much to the stream: its output projections, or the norms behind them, are scaled.
 * @throws REPAIR_UNSUPPORTED where the stream itself passes a norm, or a norm without a gain stands behind a projection
 */
export function withScaledUpdates(block: BlockView, factor: number): BlockView {
  if (factor === 1) return block;
  const spec = specOf(block);
  const refuse = (reason: string) =>
    new LayerfoldError("REPAIR_UNSUPPORTED", `the block's updates cannot be scaled: ${reason}`, {
      where: `layer ${block.layer} (${block.type})`,
    });
  if (spec.mixerSumNorm || spec.feedForwardSumNorm) throw refuse("a norm stands on the stream");
  const scaled = (projections: RegExp, norm: NormSpec | undefined): (readonly [Role, Tensor])[] => {
    if (!norm) {
      return [...block.tensors].flatMap(([role, value]) =>
        projections.test(role)
          ? [
              [
                role,
                tensor(
                  vectorOf(block, role)!.map((x) => factor * x),
                  value.shape,
                ),
              ] as const,
            ]
          : [],
      );
    }
    const gain = vectorOf(block, norm.weight);
    if (!norm.weight || !gain) throw refuse("the norm behind a projection has no gain");
    const bias = vectorOf(block, norm.bias);
    const { weightOffset } = norm;
    return [
      [norm.weight, tensor(gain.map((x) => factor * (x + weightOffset) - weightOffset))],
      ...(norm.bias && bias ? [[norm.bias, tensor(bias.map((x) => factor * x))] as const] : []),
    ];
  };
  return withTensors(block, [
    ...scaled(mixerOutputs, spec.mixerPostNorm),
    ...scaled(feedForwardOutputs, spec.feedForwardPostNorm),
  ]);
}
