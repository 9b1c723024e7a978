import {
  type BlockView,
  type Matrix,
  type Role,
  type RunContext,
  type Tensor,
  tensor,
} from "@layerfold/core";
import { float64, specOf, storedWeight, vectorOf, weightOf, withTensors } from "./block-linear.js";

/**
 * A block in which what one of its output projections adds to the stream goes through a linear map: update ← update·T, so W ← TᵀW and
 * b ← Tᵀb.
 *
 * @param map - [hidden, hidden]
 */
export async function withMappedUpdate(
  block: BlockView,
  role: Role,
  map: Matrix<Float64Array>,
  ctx: RunContext,
): Promise<BlockView> {
  const weight = await ctx.engine.matmul(map, float64(weightOf(block, role)), { transposeA: true });
  const tensors: (readonly [Role, Tensor])[] = [[role, storedWeight(specOf(block), weight)]];
  const bias = vectorOf(block, `${role}.bias`);
  if (bias) {
    const column = tensor(Float64Array.from(bias), [bias.length, 1]) as Matrix<Float64Array>;
    const mapped = await ctx.engine.matmul(map, column, { transposeA: true });
    tensors.push([`${role}.bias`, tensor(Float32Array.from(mapped.data))]);
  }
  return withTensors(block, tensors);
}

/** [size, size] the identity. */
export function identity(size: number): Matrix<Float64Array> {
  const data = new Float64Array(size * size);
  for (let i = 0; i < size; i++) data[i * size + i] = 1;
  return tensor(data, [size, size]);
}
