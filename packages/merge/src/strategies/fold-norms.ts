import {
  type BlockView,
  LayerfoldError,
  type NormSpec,
  type Role,
  type Tensor,
  tensor,
} from "@layerfold/core";
import {
  plainNorm,
  specOf,
  storedWeight,
  vectorOf,
  withoutNorm,
  withTensors,
} from "../repairs/block-linear.js";

const mixerReaders = /^attention\.(query|key|value|qkv)$|^mamba\.in$/;
const feedForwardReaders = /^(mlp|experts\.\d+)\.(gate|up|gate_up)$|^router$/;

/**
 * The same block with the gains (and biases) of the norms before its mixer and its feed-forward part moved into the maps that read them:
 * W·(g ∘ n(x) + b) = (W·diag g)·n(x) + W·b. Layers whose norms are plain can be averaged projection by projection. Norms behind a
 * part, on queries and keys, or on the stream itself have no map behind them and stay.
 *
 * @throws NORM_NOT_FOLDABLE where a norm has a bias and a map behind it has none; BLOCK_SPEC_MISSING
 */
export function foldNorms(block: BlockView): BlockView {
  const { mixerNorm, feedForwardNorm } = specOf(block);
  return withTensors(block, [
    ...folded(block, mixerNorm, feedForwardNorm ? [mixerReaders] : [mixerReaders, feedForwardReaders]),
    ...folded(block, feedForwardNorm, [feedForwardReaders]),
  ]);
}

function folded(
  block: BlockView,
  norm: NormSpec | undefined,
  readers: readonly RegExp[],
): (readonly [Role, Tensor])[] {
  if (!norm) return [];
  const shifts = vectorOf(block, norm.bias)?.some((value) => value !== 0);
  const spec = specOf(block);
  const tensors: (readonly [Role, Tensor])[] = [];
  for (const role of block.tensors.keys()) {
    if (!readers.some((reader) => reader.test(role))) continue;
    if (shifts && !block.tensors.has(`${role}.bias`)) {
      throw new LayerfoldError("NORM_NOT_FOLDABLE", `${role} has no bias that could take the norm's`, {
        wanted: 'norms: "average" or "keep"',
        where: `layer ${block.layer} (${block.type})`,
      });
    }
    const { weight, bias } = withoutNorm(block, role, norm);
    tensors.push([role, storedWeight(spec, weight)]);
    if (bias) tensors.push([`${role}.bias`, tensor(bias)]);
  }
  return [...tensors, ...plainNorm(block, norm)];
}
