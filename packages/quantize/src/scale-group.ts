import { type BlockView, contiguousData, type Role, type Tensor, tensor } from "@layerfold/core";

/**
 * A norm or a linear map whose output channels may be divided by any positive scales, if the input channels of everything that reads
 * them are multiplied by the same: the block's function does not change.
 */
export interface ScaleGroup {
  /** Role of the norm gain [in], or of the linear weight whose last `width` rows are divided. */
  readonly source: Role;
  /** Every linear map that reads the source's output. The first has the statistics of the shared input. */
  readonly consumers: readonly Role[];
  /** Channels. */
  readonly width: number;
  /** Whether a norm's gain takes the scales. */
  readonly throughNorm: boolean;
}

/**
 * The scale groups of a block, by what it holds: the norms before attention and MLP, `mlp.up` → `mlp.down` in gated MLPs (whose hidden
 * value is linear in `up`), and `attention.value` → `attention.output` where every value head has its own query head.
 *
 * @param block - canonical: linear weights [out, in], norm gains as they multiply
 */
export function scaleGroups(block: BlockView): ScaleGroup[] {
  const present = (roles: readonly Role[]) => roles.filter((role) => block.tensors.has(role));
  const experts = [...block.tensors.keys()].filter((role) => /^experts\.\d+\.(gate|up)$/.test(role));
  const attention = present(["attention.query", "attention.key", "attention.value", "attention.qkv"]);
  const mlp = present(["mlp.gate", "mlp.up", "mlp.gate_up", "router"]).concat(experts);
  const groups: ScaleGroup[] = [];
  const add = (source: Role, consumers: readonly Role[], throughNorm: boolean) => {
    const width = consumers.length > 0 ? block.tensors.get(consumers[0])?.shape[1] : undefined;
    if (width !== undefined && block.tensors.has(source))
      groups.push({ source, consumers, width, throughNorm });
  };
  if (attention.length > 0) {
    // One norm before both branches (parallel blocks) feeds the MLP too.
    const shared = !block.tensors.has("norm.mlp") && block.tensors.has("norm.attention");
    add("norm.attention", shared ? [...attention, ...mlp] : attention, true);
  }
  add("norm.mlp", mlp, true);
  const value = block.tensors.get("attention.value");
  const output = block.tensors.get("attention.output");
  if (value && output && value.shape[0] === output.shape[1]) {
    add("attention.value", ["attention.output"], false);
  }
  if (block.tensors.has("mlp.gate")) add("mlp.up", present(["mlp.down"]), false);
  add("mlp.gate_up", present(["mlp.down"]), false);
  return groups;
}

/** The block with a group's source divided, and its consumers' input channels multiplied, by `scales`. */
export function rescaled(block: BlockView, group: ScaleGroup, scales: Float64Array): BlockView {
  const tensors = new Map<Role, Tensor>(block.tensors);
  const source = block.tensors.get(group.source) as Tensor;
  tensors.set(group.source, dividedRows(source, scales));
  const bias = block.tensors.get(`${group.source}.bias`);
  if (bias) tensors.set(`${group.source}.bias`, dividedRows(bias, scales));
  for (const role of group.consumers)
    tensors.set(role, multipliedColumns(block.tensors.get(role) as Tensor, scales));
  return { ...block, tensors };
}

/** `weight` [out, in] with column j multiplied by scales[j]. */
export function multipliedColumns(weight: Tensor, scales: Float64Array): Tensor<Float32Array> {
  const values = contiguousData(weight);
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; ) {
    for (let j = 0; j < scales.length; j++, i++) out[i] = values[i] * scales[j];
  }
  return tensor(out, weight.shape);
}

/** The last `scales.length` entries of the first axis divided by `scales`. */
function dividedRows(source: Tensor, scales: Float64Array): Tensor<Float32Array> {
  const out = Float32Array.from(contiguousData(source));
  const inner = out.length / source.shape[0];
  const first = source.shape[0] - scales.length;
  for (let j = 0, i = first * inner; j < scales.length; j++) {
    for (let k = 0; k < inner; k++, i++) out[i] /= scales[j];
  }
  return tensor(out, source.shape);
}
