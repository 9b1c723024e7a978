import {
  type AttentionSpec,
  type BlockSpec,
  type BlockView,
  contiguousData,
  LayerfoldError,
  type Role,
  type Tensor,
  tensor,
} from "@layerfold/core";

/**
 * What the queries of a block must be multiplied by to compute the same in a place where query·key is multiplied by another number (GPT-2
 * may divide it by the layer's number); 1 where nothing changes.
 *
 * @throws CONFIG_CANNOT_EXPRESS where a norm stands on the queries, or they lie among keys and values head by head
 */
export function queryFactor(block: BlockSpec, place: BlockSpec): number {
  if (block.mixer.kind !== "attention" || place.mixer.kind !== "attention") return 1;
  const { scale } = block.mixer;
  if (scale === place.mixer.scale) return 1;
  if (takesScale(block.mixer)) return scale / place.mixer.scale;
  throw new LayerfoldError("CONFIG_CANNOT_EXPRESS", "the attention scale follows from the layer's index", {
    wanted: `a layer with scale ${place.mixer.scale}`,
    got: `${scale}`,
  });
}

/** Whether queries can make up for another attention scale: no norm stands on them, and they lie apart from keys and values. */
export function takesScale({ queryKeyNorm, projection }: AttentionSpec): boolean {
  return !queryKeyNorm && projection !== "fused-per-head";
}

/** Whether a tensor of that role makes queries. */
export function makesQueries(role: Role): boolean {
  return /^attention\.(query|qkv)(\.bias)?$/.test(role);
}

/** A tensor of that role, its part that makes queries multiplied by the factor. */
export function scaledQueries(
  { mixer, linearLayout }: BlockSpec,
  role: Role,
  value: Tensor,
  factor: number,
): Tensor {
  if (factor === 1 || mixer.kind !== "attention" || !makesQueries(role)) return value;
  const data = Float32Array.from(contiguousData(value));
  const byRow = linearLayout === "out-in" || value.shape.length === 1;
  // Outputs of the map, and how far apart the values of one output lie.
  const outputs = value.shape[byRow ? 0 : 1];
  const step = byRow ? data.length / outputs : 1;
  const queries = role.startsWith("attention.query") ? outputs : mixer.headCount * mixer.headSize;
  for (let i = 0; i < data.length; i++) {
    if (Math.floor(i / step) % outputs < queries) data[i] *= factor;
  }
  return tensor(data, value.shape);
}

/** The block with its queries made for another place. @throws as `queryFactor` */
export function placedBlock(block: BlockView, place: BlockSpec | undefined): BlockView {
  const { spec } = block;
  const factor = spec && place ? queryFactor(spec, place) : 1;
  if (!spec || factor === 1) return block;
  const tensors = [...block.tensors].map(
    ([role, value]) => [role, scaledQueries(spec, role, value, factor)] as const,
  );
  const { scale } = place!.mixer as AttentionSpec;
  const mixer = { ...(spec.mixer as AttentionSpec), scale };
  return { ...block, spec: { ...spec, mixer }, tensors: new Map(tensors) };
}
