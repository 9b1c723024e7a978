import {
  type BlockSpec,
  type BlockView,
  contiguousData,
  type Role,
  type Tensor,
  tensor,
} from "@layerfold/core";

/** The role of a linear map that quantisation reaches: attention and MLP projections and experts; never routers or norms. */
const linearRole = /^(attention\.(query|key|value|qkv|output)|(mlp|experts\.\d+)\.(gate|up|gate_up|down))$/;

/** The linear maps of a block, in the order in which the block runs them. */
export function linearRoles(spec: BlockSpec): Role[] {
  return [...spec.tensors.keys()].filter(
    (role) => linearRole.test(role) && spec.shapes.get(role)?.length === 2,
  );
}

/**
 * A block as transforms and quantizers see it: linear weights [out, in], and the gains of the norms before attention and MLP as they
 * multiply (Gemma stores gain − 1).
 */
export function canonicalBlock(stored: BlockView, spec: BlockSpec): BlockView {
  return changed(stored, spec, +1);
}

/** The inverse of {@link canonicalBlock}: tensors as the checkpoint stores them. */
export function storedBlock(canonical: BlockView, spec: BlockSpec): BlockView {
  return changed(canonical, spec, -1);
}

function changed(block: BlockView, spec: BlockSpec, sign: 1 | -1): BlockView {
  const tensors = new Map<Role, Tensor>(block.tensors);
  if (spec.linearLayout === "in-out") {
    for (const role of linearRoles(spec)) tensors.set(role, swapped(tensors.get(role) as Tensor));
  }
  for (const norm of [spec.mixerNorm, spec.feedForwardNorm]) {
    if (!norm?.weight || norm.weightOffset === 0) continue;
    const gain = tensors.get(norm.weight) as Tensor;
    const values = Float32Array.from(contiguousData(gain), (value) => value + sign * norm.weightOffset);
    tensors.set(norm.weight, tensor(values, gain.shape));
  }
  return { ...block, tensors };
}

/** Rows for columns; a view. */
export function swapped({ data, shape, stride, offset }: Tensor): Tensor {
  return tensor(data, [shape[1], shape[0]], [stride[1], stride[0]], offset);
}
