import type { Checkpoint } from "@layerfold/checkpoint";
import {
  anchorLayer,
  type BlockView,
  checkFinite,
  keptLayer,
  LayerfoldError,
  type MergePlan,
  type MergeStrategy,
  type ModelRunner,
  type PlanGroup,
  type Role,
  type RunContext,
  type Tensor,
} from "@layerfold/core";
import { placedBlock } from "./attention-scale.js";
import { checkPlan } from "./compatible-layers.js";
import { rolesOf, withScaledUpdates } from "./repairs/scaled-updates.js";

/**
 * The block that each group of a plan becomes, made when asked: the kept layer's own where the group's weights are a drop, with zeroed
 * output projections where halves of it fall silent, else what the strategy makes of the group's layers. Only one group's layers are
 * read at a time; nothing is remembered.
 *
 * @param source - where blocks are read: a runner that is open anyway may hold them decoded
 * @returns group index → block, its `layer` being the dense layer whose place it takes
 * @throws PLAN_INVALID, PLAN_MISMATCH, LAYERS_INCOMPATIBLE at once; WEIGHT_NOT_FINITE and the strategy's errors when asked
 */
export function foldedBlocks(
  checkpoint: Checkpoint,
  plan: MergePlan,
  strategy: MergeStrategy,
  ctx: RunContext,
  source: Pick<ModelRunner, "block"> = checkpoint,
): (group: number) => Promise<BlockView> {
  const { groups } = checkPlan(plan, checkpoint.architecture);
  return (index) => foldGroup(groups[index], strategy, ctx, source);
}

/** The block that one group becomes; see `foldedBlocks`. @throws WEIGHT_NOT_FINITE, naming tensor and index */
export async function foldGroup(
  group: PlanGroup,
  strategy: MergeStrategy,
  ctx: RunContext,
  source: Pick<ModelRunner, "block">,
): Promise<BlockView> {
  const { layers, weights = layers.map(() => 1 / layers.length), without } = group;
  const read = async (layer: number): Promise<BlockView> => {
    const block = await source.block(layer);
    for (const [role, weight] of block.tensors) {
      checkFinite(weight, block.spec?.tensors.get(role) ?? `layer ${layer}, ${role}`);
    }
    return block;
  };
  if (without) {
    const block = await read(layers[0]);
    for (const part of without) {
      if ([...block.tensors.keys()].some((role) => rolesOf[part].test(role))) continue;
      throw new LayerfoldError("PLAN_MISMATCH", `the block has no ${part} that could fall silent`, {
        where: `layer ${block.layer} (${block.type})`,
      });
    }
    return withScaledUpdates(block, 0, without);
  }
  const kept = keptLayer(group);
  if (kept !== undefined) return read(kept);
  const blocks: BlockView[] = [];
  for (const layer of layers) blocks.push(placedBlock(await read(layer), blocks[0]?.spec));
  const merged = await strategy.merge(blocks, weights, ctx);
  return { ...merged, layer: layers[0] };
}

/**
 * The block that one group becomes, of layers as they are stored: where the strategy merges each role by itself, the group's tensors of one
 * role at a time are in memory beside it.
 * @throws WEIGHT_NOT_FINITE, and what the strategy throws
 */
export async function foldStoredGroup(
  checkpoint: Checkpoint,
  group: PlanGroup,
  strategy: MergeStrategy,
  ctx: RunContext,
): Promise<BlockView> {
  if (!strategy.tensorwise || group.without) return foldGroup(group, strategy, ctx, checkpoint);
  const tensors = new Map<Role, Tensor>();
  let last: BlockView | undefined;
  for (const role of checkpoint.architecture.blocks[anchorLayer(group)].tensors.keys()) {
    last = await foldGroup(group, strategy, ctx, withRole(checkpoint, role));
    for (const [name, values] of last.tensors) tensors.set(name, values);
  }
  if (!last) throw new LayerfoldError("TENSOR_MISSING", "the block has no tensors");
  return { ...last, tensors };
}

/** A checkpoint's blocks, each with its tensor of one role alone. */
export function withRole({ architecture, read }: Checkpoint, role: Role): Pick<ModelRunner, "block"> {
  return {
    async block(layer) {
      const spec = architecture.blocks[layer];
      const tensors = new Map([[role, await read(spec.tensors.get(role)!)]]);
      return { layer, type: spec.type, spec, tensors };
    },
  };
}
