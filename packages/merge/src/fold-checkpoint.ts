import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  architectureOf,
  type Checkpoint,
  keepLayers,
  layerOf,
  type ModelConfig,
  renamedTensor,
  storedReader,
  type TensorSource,
  type WrittenCheckpoint,
  writeCheckpoint,
} from "@layerfold/checkpoint";
import {
  anchorLayer,
  type BlockView,
  contiguousData,
  type DType,
  elementCount,
  encodeFloats,
  type Floats,
  keptLayer,
  LayerfoldError,
  type MergePlan,
  type MergeStrategy,
  type ModelRunner,
  type Repair,
  type Role,
  type RunContext,
  type TokenBatch,
  tensor,
} from "@layerfold/core";
import { checkOutputFolder, makeFolder, scratchFolder } from "@layerfold/disk";
import { makesQueries, queryFactor, scaledQueries } from "./attention-scale.js";
import { readBlock, readBlockTensor, writeBlock } from "./block-file.js";
import { checkRepair, layerFacts } from "./check-repair.js";
import { checkPlan } from "./compatible-layers.js";
import { foldedBlocks, foldGroup, withRole } from "./folded-blocks.js";
import { linearTensors, linearTerms } from "./linear-tensors.js";
import { planShares } from "./plan-shares.js";
import { rolesOf } from "./repairs/scaled-updates.js";

export interface FoldRequest {
  /** How the layers of a group that is no drop become one. */
  readonly strategy: MergeStrategy;
  /** Corrections afterwards; needs `runner` and `calibration`. */
  readonly repair?: Repair | undefined;
  /** The dense model. */
  readonly runner?: ModelRunner | undefined;
  /** Opened once for every pass of the repair. */
  readonly calibration?: (() => AsyncIterable<TokenBatch>) | undefined;
  /** Folder to write. */
  readonly out: string;
  /** Replace a folder that is not empty, if it is one that we wrote. */
  readonly force?: boolean | undefined;
  readonly maxShardBytes?: number | undefined;
  /**
   * Folder for repaired blocks, which stay there. What an earlier call with the same arguments left when it was broken off is not fitted
   * anew. Absent: a folder beside `out` that is removed at the end.
   */
  readonly unfinished?: string | undefined;
}

export interface FoldedCheckpoint extends WrittenCheckpoint {
  /** Parameters of the dense model, tied weights counted once. */
  readonly denseParameterCount: number;
  /** Parameters that are written but do nothing, since the plan silences their half of a block; norms not counted. */
  readonly silentParameterCount: number;
  /** Share of parameters removed, 0 – 1; silent ones still stand in the file and are not removed. */
  readonly parameterRatio: number;
  /** Share of layers removed, 0 – 1. */
  readonly layerRatio: number;
  /** What the repair says of each block: mean squared error of the stream after it, before and after. */
  readonly errors: readonly { readonly index: number; readonly before: number; readonly after: number }[];
}

/**
 * Applies a plan to a checkpoint and writes the folded one. Weights stream: without a repair a few pieces of tensors are in memory where the
 * strategy gives its coefficients, a group's tensors of one role where it is tensorwise, else a group's layers; with one what the repair holds. Tensors that are kept are copied as bytes; merged
 * ones are written in the element type of the group's first layer. The config is re-indexed, tokenizer and licence are carried over.
 *
 * @throws PLAN_INVALID, PLAN_MISMATCH, LAYERS_INCOMPATIBLE; CONFIG_CANNOT_EXPRESS where the config cannot say which layers are left;
 * REPAIR_INCOMPLETE when a repair needs a runner and calibration and has none, or leaves a block out; TENSOR_NOT_FINITE when a merged
 * value does not fit its element type; whatever `writeCheckpoint` throws
 */
export async function foldCheckpoint(
  checkpoint: Checkpoint,
  plan: MergePlan,
  request: FoldRequest,
  ctx: RunContext,
): Promise<FoldedCheckpoint> {
  const { groups } = checkPlan(plan, checkpoint.architecture);
  const { architecture, config, family } = checkpoint;
  const places = groups.map(anchorLayer);
  const foldedConfig = keepLayers(family, config, places, ctx.report);
  if (request.repair) checkRepair(request.repair, await layerFacts(checkpoint), groups);
  const placed = placedValues(checkpoint, foldedConfig, places);
  const { force } = request;
  const target = await checkOutputFolder(request.out, { force });

  // On the disk that the checkpoint goes to: repaired blocks come front to back, and are written in another order.
  const scratch = request.repair && (request.unfinished ?? (await scratchFolder("repair", dirname(target))));
  const reader = storedReader();
  try {
    const folded = foldedBlocks(checkpoint, plan, request.strategy, ctx, request.runner);
    const repaired = scratch
      ? await spillRepaired(checkpoint, plan, request, folded, placed, scratch, ctx)
      : undefined;
    const { sum, copy } = linearTensors(reader);
    const stored = (name: string) => checkpoint.tensors.get(name)!;
    const tensors: TensorSource[] = globalNames(checkpoint).map((name) => copy(name, stored(name)));
    const blockOf = remembered(folded);
    const blockWith = (index: number, role: Role) =>
      request.strategy.tensorwise && !groups[index].without
        ? foldGroup(groups[index], request.strategy, ctx, withRole(checkpoint, role))
        : blockOf(index);
    groups.forEach((group, index) => {
      const rename = (name: string) => renamedTensor(family, name, index)!;
      if (repaired) {
        tensors.push(...repaired.tensors[index]);
      } else if (keptLayer(group) !== undefined) {
        const changed = placed.changed(index);
        for (const name of layerNames(checkpoint, places[index])) {
          const role = changed.get(name);
          const { dtype, shape } = stored(name);
          const values = async () => contiguousData(await checkpoint.read(name));
          tensors.push(
            role
              ? {
                  name: rename(name),
                  dtype,
                  shape,
                  bytes: placed.bytes(index, role, { dtype, shape }, values),
                }
              : copy(rename(name), stored(name)),
          );
        }
      } else {
        const changed = placed.changed(index);
        const terms = linearTerms(checkpoint, group, request.strategy);
        for (const [role, name] of architecture.blocks[places[index]].tensors) {
          const { dtype, shape } = stored(name);
          const values = async () => checkedValues(await blockWith(index, role), role, shape, dtype);
          const bytes = placed.bytes(index, role, { dtype, shape }, values);
          const summed = changed.has(name) ? undefined : terms?.get(role);
          tensors.push(
            summed ? sum(rename(name), summed, bytes) : { name: rename(name), dtype, shape, bytes },
          );
        }
      }
    });
    const written = await writeCheckpoint(
      request.out,
      {
        config: foldedConfig,
        tensors,
        carryFrom: checkpoint,
        maxShardBytes: request.maxShardBytes,
        force,
      },
      ctx,
    );
    return {
      ...written,
      ...planShares(plan, architecture),
      silentParameterCount: countSilent(checkpoint, groups),
      errors: repaired?.errors ?? [],
    };
  } finally {
    await reader.close();
    if (scratch && scratch !== request.unfinished) await rm(scratch, { recursive: true, force: true });
  }
}

/** How the values of blocks change by the place that they are written to. */
interface PlacedValues {
  /** Of a group's layer, the tensors whose values change there, by name, with their roles. */
  changed(group: number): ReadonlyMap<string, Role>;
  /** Bytes of a tensor in its group's place. */
  bytes(
    group: number,
    role: Role,
    stored: Pick<TensorSource, "dtype" | "shape">,
    values: () => Promise<Floats>,
  ): () => Promise<Uint8Array>;
}

/** @throws CONFIG_CANNOT_EXPRESS where the place asks for other weights than can be made */
function placedValues(
  { architecture, config }: Checkpoint,
  foldedConfig: ModelConfig,
  places: readonly number[],
): PlacedValues {
  const { blocks } = architectureOf(foldedConfig);
  const specs = places.map((layer) => architecture.blocks[layer]);
  const factors = specs.map((spec, group) => queryFactor(spec, blocks[group]));
  const moved = factors.findIndex((factor) => factor !== 1);
  if (moved >= 0 && config.quantization_config != null) {
    throw new LayerfoldError("CONFIG_CANNOT_EXPRESS", "the attention scale follows from the layer's index", {
      wanted: "dense weights, whose queries can make up for it (`layerfold dequantize` makes them)",
      got: `layer ${places[moved]} at index ${moved} of a quantised model`,
    });
  }
  return {
    changed: (group) =>
      new Map(
        [...specs[group].tensors].flatMap(([role, name]) =>
          factors[group] !== 1 && makesQueries(role) ? [[name, role] as const] : [],
        ),
      ),
    bytes:
      (group, role, { dtype, shape }, values) =>
      async () => {
        const value = tensor(await values(), shape);
        return encodeFloats(contiguousData(scaledQueries(specs[group], role, value, factors[group])), dtype);
      },
  };
}

/** Runs the repair and lays every block down in the scratch folder, as it came: a repair that goes on must see the same values. */
async function spillRepaired(
  checkpoint: Checkpoint,
  plan: MergePlan,
  { repair, runner, calibration }: FoldRequest,
  folded: (group: number) => Promise<BlockView>,
  placed: PlacedValues,
  scratch: string,
  ctx: RunContext,
): Promise<{ tensors: TensorSource[][]; errors: FoldedCheckpoint["errors"] }> {
  if (!repair || !runner || !calibration) {
    throw new LayerfoldError("REPAIR_INCOMPLETE", "a repair needs the model and a calibration text", {
      wanted: "runner and calibration",
      got: runner ? "no calibration" : "no runner",
    });
  }
  const { architecture, family } = checkpoint;
  await makeFolder(scratch);
  const fileOf = (group: number) => join(scratch, `${group}.safetensors`);
  const finished = (group: number) => readBlock(fileOf(group), architecture);
  const tensors: TensorSource[][] = plan.groups.map(() => []);
  const errors: { index: number; before: number; after: number }[] = [];
  for await (const { index, block, error } of repair.fit(runner, plan, folded, calibration, ctx, finished)) {
    if (error) errors.push({ index, ...error });
    for (const [role, name] of architecture.blocks[block.layer].tensors) {
      const { dtype, shape } = checkpoint.tensors.get(name)!;
      checkedValues(block, role, shape, dtype);
      const bytes = placed.bytes(index, role, { dtype, shape }, () => readBlockTensor(fileOf(index), role));
      tensors[index].push({ name: renamedTensor(family, name, index)!, dtype, shape, bytes });
    }
    await writeBlock(fileOf(index), block);
  }
  const missing = tensors.findIndex((sources) => sources.length === 0);
  if (missing >= 0) {
    throw new LayerfoldError("REPAIR_INCOMPLETE", `the repair ${repair.id} left out a block`, {
      wanted: `${plan.groups.length} blocks`,
      got: `none for group ${missing}`,
    });
  }
  return { tensors, errors };
}

/** Tensors outside the blocks. A quantised checkpoint holds other names than the architecture, and they all belong to it. */
function globalNames({ architecture, config, family, tensors }: Checkpoint): string[] {
  if (config.quantization_config == null) return [...architecture.globals.keys()];
  return [...tensors.keys()].filter((name) => layerOf(family, name) === undefined);
}

function layerNames({ architecture, config, family, tensors }: Checkpoint, layer: number): string[] {
  if (config.quantization_config == null) return [...architecture.blocks[layer].tensors.values()];
  return [...tensors.keys()].filter((name) => layerOf(family, name) === layer);
}

/** The last block that was asked for stays, so that its tensors come out of one merge. */
function remembered(make: (group: number) => Promise<BlockView>): (group: number) => Promise<BlockView> {
  let last: { group: number; block: Promise<BlockView> } | undefined;
  return (group) => {
    if (last?.group !== group) last = { group, block: make(group) };
    return last.block;
  };
}

/** What stands for a tensor of the checkpoint. */
function checkedValues(block: BlockView, role: string, shape: readonly number[], dtype: DType) {
  const value = block.tensors.get(role);
  const where = `layer ${block.layer}, ${role}`;
  if (!value || value.shape.join() !== shape.join()) {
    throw new LayerfoldError("TENSOR_SHAPE", "a folded block must have its layer's tensors", {
      wanted: `[${shape.join(", ")}]`,
      got: value ? `[${value.shape.join(", ")}]` : "none",
      where,
    });
  }
  const data = contiguousData(value);
  const largest = dtype === "float16" ? 65504 : Number.MAX_VALUE;
  const bad = data.findIndex((x: number) => !(Math.abs(x) <= largest));
  if (bad >= 0) {
    throw new LayerfoldError("TENSOR_NOT_FINITE", `a folded value cannot be written as ${dtype}`, {
      got: `${data[bad]} at index ${bad}`,
      where,
    });
  }
  return data;
}

function countSilent({ architecture }: Checkpoint, groups: MergePlan["groups"]): number {
  let count = 0;
  for (const { layers, without = [] } of groups) {
    for (const [role, shape] of architecture.blocks[layers[0]].shapes) {
      if (without.some((part) => rolesOf[part].test(role))) count += elementCount(shape);
    }
  }
  return count;
}
