import {
  type BlockPart,
  type BlockSpec,
  type BlockView,
  LayerfoldError,
  type NormSpec,
  type Role,
  type Tensor,
  tensor,
} from "@layerfold/core";
import { specOf, vectorOf, withTensors } from "./block-linear.js";

/** Roles that are of use to one half only; norms not among them. */
export const rolesOf: Readonly<Record<BlockPart, RegExp>> = {
  attention: /^(attention|mamba)\./,
  mlp: /^(mlp|experts)\.|^router/,
};

const mixerOutputs = /^(attention\.output|mamba\.out)(\.bias)?$/;
const feedForwardOutputs = /^(mlp|experts\.\d+)\.down(\.bias)?$/;

/** Why a block's updates cannot be scaled, for `Repair.refuses`; undefined where they can. */
export function whyUpdatesStay(
  spec: BlockSpec,
  parts: readonly BlockPart[] = ["attention", "mlp"],
): string | undefined {
  if (spec.mixerSumNorm || spec.feedForwardSumNorm) return updatesStay("a norm stands on the stream");
  const norms = { attention: spec.mixerPostNorm, mlp: spec.feedForwardPostNorm };
  return parts.some((part) => norms[part] && !norms[part].weight)
    ? updatesStay("the norm behind a projection has no gain")
    : undefined;
}

/** Of a block whose halves fall silent, the roles that become zeros; undefined where norms behind the halves change in other ways. */
export function silencedRoles(
  spec: BlockSpec,
  parts: readonly BlockPart[],
): ((role: Role) => boolean) | undefined {
  const outputs = { attention: mixerOutputs, mlp: feedForwardOutputs };
  const norms = { attention: spec.mixerPostNorm, mlp: spec.feedForwardPostNorm };
  if (whyUpdatesStay(spec, parts) !== undefined || parts.some((part) => norms[part])) return undefined;
  return (role) => parts.some((part) => outputs[part].test(role));
}

function updatesStay(reason: string): string {
  return `the block's updates cannot be scaled: ${reason}`;
}

/**
 * A block that adds `factor` times as much to the stream: its output projections, or the norms behind them, are scaled. 0 makes it silent.
 *
 * @param parts - the halves to scale
 * @throws UPDATE_NOT_SCALABLE where the stream itself passes a norm, or a norm without a gain stands behind a projection
 */
export function withScaledUpdates(
  block: BlockView,
  factor: number,
  parts: readonly BlockPart[] = ["attention", "mlp"],
): BlockView {
  if (factor === 1) return block;
  const spec = specOf(block);
  const stays = whyUpdatesStay(spec, parts);
  if (stays !== undefined) {
    throw new LayerfoldError("UPDATE_NOT_SCALABLE", stays, { where: `layer ${block.layer} (${block.type})` });
  }
  // No negative zeros.
  const times = (x: number) => (factor === 0 ? 0 : factor * x);
  const scaled = (projections: RegExp, norm: NormSpec | undefined): (readonly [Role, Tensor])[] => {
    if (!norm) {
      return [...block.tensors].flatMap(([role, value]) =>
        projections.test(role)
          ? [[role, tensor(vectorOf(block, role)!.map(times), value.shape)] as const]
          : [],
      );
    }
    const gain = vectorOf(block, norm.weight)!;
    const bias = vectorOf(block, norm.bias);
    const { weightOffset } = norm;
    return [
      [norm.weight!, tensor(gain.map((x) => factor * (x + weightOffset) - weightOffset))],
      ...(norm.bias && bias ? [[norm.bias, tensor(bias.map(times))] as const] : []),
    ];
  };
  return withTensors(block, [
    ...(parts.includes("attention") ? scaled(mixerOutputs, spec.mixerPostNorm) : []),
    ...(parts.includes("mlp") ? scaled(feedForwardOutputs, spec.feedForwardPostNorm) : []),
  ]);
}
