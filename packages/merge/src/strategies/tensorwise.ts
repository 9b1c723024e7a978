import {
  type Awaitable,
  type BlockView,
  contiguousData,
  LayerfoldError,
  type MergeStrategy,
  type Role,
  type RunContext,
  type Tensor,
  tensor,
  z,
} from "@layerfold/core";
import { foldNorms } from "./fold-norms.js";

/** What becomes of norm gains. */
export const normPolicy = z
  .enum(["average", "keep", "fold"])
  .default("average")
  .describe(
    "norm gains: merged like everything else; those of the group's first layer; or moved into the maps that read them before anything is merged, which leaves every layer's function as it is",
  );
export type NormPolicy = z.output<typeof normPolicy>;

/**
 * A per-tensor formula.
 * @param values - one array per block, row-major, all of one length; not to be changed
 * @param weights - one per block
 * @returns the merged values: a new array of that length, or one of `values`
 */
export type TensorFormula = (
  values: readonly Float32Array[],
  weights: readonly number[],
  role: Role,
  ctx: RunContext,
) => Awaitable<Float32Array>;

/**
 * Lifts a formula on one tensor to a strategy on whole blocks: every role of the block is merged by itself.
 *
 * @throws LAYERS_INCOMPATIBLE when the blocks have not the same roles with the same shapes; NORM_NOT_FOLDABLE from `norms: "fold"`
 *
 * @example
 * ```ts
 * const first = tensorwise(([a]) => a);
 * const block = await first([left, right], [0.5, 0.5], ctx);
 * assert(block.tensors.get("mlp.down") !== undefined);
 * ```
 */
export function tensorwise(formula: TensorFormula, norms: NormPolicy = "average"): MergeStrategy["merge"] {
  return async (given, weights, ctx) => {
    checkSameTensors(given);
    const blocks = norms === "fold" ? given.map(foldNorms) : given;
    const [first] = blocks;
    const tensors: [Role, Tensor][] = [];
    for (const [role, value] of first.tensors) {
      const { shape } = value;
      if (norms === "keep" && isNormRole(role)) {
        tensors.push([role, value]);
        continue;
      }
      const values = blocks.map((block) => float32(block.tensors.get(role)!));
      tensors.push([role, tensor(await formula(values, weights, role, ctx), shape)]);
    }
    return { ...first, tensors: new Map(tensors) };
  };
}

/**
 * A strategy's `coefficients`, where `tensorwise` lifts a formula that is a linear combination.
 * @param combination - one coefficient per block, from the plan's weights
 */
export function linearly(
  combination: (weights: readonly number[]) => readonly number[],
  norms: NormPolicy,
): MergeStrategy["coefficients"] {
  if (norms === "fold") return undefined;
  return (weights, role) =>
    norms === "keep" && isNormRole(role) ? onlyBlock(0, weights.length) : combination(weights);
}

/** The coefficients that leave one of several blocks as it is. */
export function onlyBlock(kept: number, count: number): number[] {
  return Array.from({ length: count }, (_, block) => (block === kept ? 1 : 0));
}

/** Whether a role is a parameter of a normalisation. */
export function isNormRole(role: Role): boolean {
  return /^norm\.|_norm(\.bias)?$/.test(role);
}

function float32(t: Tensor): Float32Array {
  const data = contiguousData(t);
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

/** @throws LAYERS_INCOMPATIBLE */
export function checkSameTensors(blocks: readonly BlockView[]): void {
  const describe = ({ type, tensors }: BlockView) =>
    `${type}: ${[...tensors]
      .map(([role, { shape }]) => `${role} [${shape.join(", ")}]`)
      .sort()
      .join(", ")}`;
  const wanted = describe(blocks[0]);
  for (const block of blocks) {
    const got = describe(block);
    if (got === wanted) continue;
    throw new LayerfoldError("LAYERS_INCOMPATIBLE", "these blocks cannot be merged", {
      wanted,
      got,
      where: `layers ${blocks[0].layer} and ${block.layer}`,
    });
  }
}

/** Σ_j w_j·x_j, summed in float64; arrays of weight 0 are not read. */
export function weightedSum(values: readonly Float32Array[], weights: readonly number[]): Float32Array {
  const parts = values.flatMap((value, j) => (weights[j] === 0 ? [] : [{ value, weight: weights[j] }]));
  const result = new Float32Array(values[0].length);
  for (let i = 0; i < result.length; i++) {
    let sum = parts[0].weight * parts[0].value[i];
    for (let p = 1; p < parts.length; p++) sum += parts[p].weight * parts[p].value[i];
    result[i] = sum;
  }
  return result;
}
