import {
  type BlockSpec,
  type BlockView,
  contiguousData,
  type LayerFacts,
  LayerfoldError,
  type Matrix,
  type NormSpec,
  type Role,
  type Tensor,
  tensor,
} from "@layerfold/core";

/**
 * What the architecture says of a block.
 * @throws BLOCK_SPEC_MISSING when the block came without it
 */
export function specOf(block: BlockView): BlockSpec {
  if (block.spec) return block.spec;
  throw new LayerfoldError("BLOCK_SPEC_MISSING", "this repair must know how the block's tensors lie", {
    where: `layer ${block.layer}`,
  });
}

function float32(t: Tensor): Float32Array {
  const data = contiguousData(t);
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

/** A parameter vector [length] float32 (a norm's gain, a bias), or undefined where the block has none of this role. */
export function vectorOf(block: BlockView, role: Role | undefined): Float32Array | undefined {
  const found = role === undefined ? undefined : block.tensors.get(role);
  return found && float32(found);
}

/** A linear map's weight as [outputs, inputs] float32, however it is stored. @throws TENSOR_MISSING */
export function weightOf(block: BlockView, role: Role): Matrix<Float32Array> {
  const found = block.tensors.get(role);
  if (!found)
    throw new LayerfoldError("TENSOR_MISSING", `the block has no ${role}`, { where: `layer ${block.layer}` });
  const [rows, columns] = found.shape;
  if (specOf(block).linearLayout === "out-in") return tensor(float32(found), [rows, columns]);
  const view = tensor(found.data, [columns, rows], [found.stride[1], found.stride[0]], found.offset);
  return tensor(float32(view), [columns, rows]);
}

/** The inverse of `weightOf`: a weight [outputs, inputs] as the block's layout stores it. */
export function storedWeight(spec: BlockSpec, weight: Matrix): Tensor<Float32Array> {
  const [outputs, inputs] = weight.shape;
  if (spec.linearLayout === "out-in") return tensor(float32(weight), [outputs, inputs]);
  return tensor(float32(transposed(weight)), [inputs, outputs]);
}

/** Rows for columns; a view. */
export function transposed<D extends Float32Array | Float64Array>({
  data,
  shape,
  stride,
  offset,
}: Matrix<D>): Matrix<D> {
  return tensor(data, [shape[1], shape[0]], [stride[1], stride[0]], offset);
}

/** Row-major float64 copy. */
export function float64(matrix: Matrix): Matrix<Float64Array> {
  return tensor(Float64Array.from(contiguousData(matrix)), matrix.shape);
}

/** Rows of several matrices of one width, one under another. */
export function stackRows(parts: readonly Matrix<Float32Array>[]): Matrix<Float32Array> {
  const width = parts[0].shape[1];
  const rows = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  const data = new Float32Array(rows * width);
  let at = 0;
  for (const part of parts) {
    data.set(contiguousData(part), at);
    at += part.shape[0] * width;
  }
  return tensor(data, [rows, width]);
}

/** Some rows of a row-major matrix, in the order given. */
export function selectRows(
  { data, shape }: Matrix<Float32Array>,
  rows: readonly number[],
): Matrix<Float32Array> {
  const width = shape[1];
  const out = new Float32Array(rows.length * width);
  rows.forEach((row, i) => {
    out.set(data.subarray(row * width, (row + 1) * width), i * width);
  });
  return tensor(out, [rows.length, width]);
}

/** The first of the layers' reasons. */
export function firstReason(
  layers: readonly LayerFacts[],
  reasonOf: (layer: LayerFacts) => string | undefined,
): string | undefined {
  return layers.map(reasonOf).find((reason) => reason !== undefined);
}

/** Why a norm's learned parameters cannot move into the maps of these roles behind it; undefined where they can. */
export function whyNormStays(
  { spec, normBiases }: LayerFacts,
  roles: readonly Role[],
  norm: NormSpec | undefined,
): string | undefined {
  if (norm?.bias === undefined || !normBiases.has(norm.bias)) return undefined;
  const role = roles.find((role) => spec.tensors.has(role) && !spec.tensors.has(`${role}.bias`));
  return role && noBiasFor(role);
}

function noBiasFor(role: Role): string {
  return `${role} has no bias that could take the norm's`;
}

/** A map behind a norm, with the norm's gain (and bias) taken in: what it would be behind a norm of gain 1. */
export interface BareLinear {
  readonly weight: Matrix<Float32Array>;
  readonly bias?: Float32Array | undefined;
}

/**
 * Takes a norm's learned parameters into the map behind it: W·(g ∘ n + b) = (W·diag g)·n + W·b.
 * @throws REPAIR_UNSUPPORTED when the norm has a bias and the map has none to take it
 */
export function withoutNorm(block: BlockView, role: Role, norm: NormSpec | undefined): BareLinear {
  const weight = weightOf(block, role);
  const bias = vectorOf(block, `${role}.bias`);
  const gain = vectorOf(block, norm?.weight);
  const shift = vectorOf(block, norm?.bias);
  const [outputs, inputs] = weight.shape;
  const scaled = Float32Array.from(contiguousData(weight));
  const moved = bias && Float32Array.from(bias);
  if (shift && !moved && shift.some((value) => value !== 0)) {
    throw new LayerfoldError("REPAIR_UNSUPPORTED", noBiasFor(role), {
      where: `layer ${block.layer}`,
    });
  }
  for (let o = 0; o < outputs; o++) {
    let sum = 0;
    for (let i = 0; i < inputs; i++) {
      const at = o * inputs + i;
      if (shift) sum += scaled[at] * shift[i];
      if (gain) scaled[at] *= gain[i] + (norm?.weightOffset ?? 0);
    }
    if (moved) moved[o] += sum;
  }
  return { weight: tensor(scaled, [outputs, inputs]), bias: moved };
}

/** The parameters of a norm that only normalises. */
export function plainNorm(block: BlockView, norm: NormSpec | undefined): [Role, Tensor][] {
  const result: [Role, Tensor][] = [];
  for (const [role, value] of [
    [norm?.weight, 1 - (norm?.weightOffset ?? 0)],
    [norm?.bias, 0],
  ] as const) {
    const found = role === undefined ? undefined : block.tensors.get(role);
    if (role !== undefined && found) {
      result.push([role, tensor(new Float32Array(found.shape[0]).fill(value), found.shape)]);
    }
  }
  return result;
}

/** A block with some tensors replaced, or added; the others are shared with the block that was given. */
export function withTensors(block: BlockView, tensors: Iterable<readonly [Role, Tensor]>): BlockView {
  return { ...block, tensors: new Map([...block.tensors, ...tensors]) };
}

/** Sum of the vectors that are there; undefined where none is. */
export function sumOfVectors(vectors: readonly (Float32Array | undefined)[]): Float32Array | undefined {
  const present = vectors.filter((vector) => vector !== undefined);
  if (present.length === 0) return undefined;
  return present[0].map((_, i) => present.reduce((sum, vector) => sum + vector[i], 0));
}
