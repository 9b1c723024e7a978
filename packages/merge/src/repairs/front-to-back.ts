import {
  anchorLayer,
  type BlockView,
  errorWithin,
  groupName,
  type Hidden,
  LayerfoldError,
  type MergePlan,
  type ModelRunner,
  type Repair,
  type RepairedBlock,
  type RunContext,
  type Tap,
  type TokenBatch,
  throwIfAborted,
} from "@layerfold/core";
import { placedBlock } from "../attention-scale.js";
import { type HiddenStore, hiddenStores } from "./hidden-store.js";
import type { FitOptions } from "./least-squares.js";
import { withScaledUpdates } from "./scaled-updates.js";

/** One calibration batch, as a group's repair sees it. */
export interface GroupBatch {
  /** The folded model's stream before the group. */
  readonly input: Hidden;
  /** Reads the dense model's stream before the group. */
  readonly dense: () => Promise<Hidden>;
  /** The dense model's stream behind the group: what the folded model's should be. */
  readonly target: Hidden;
  /** Sum of what the attention of the group's layers adds to the dense stream, where `needsUpdates` says so. */
  readonly updates?: Hidden;
  /** Of the text that only judges. */
  readonly heldOut: boolean;
}

/** A plan's group, with the calibration streams around it. */
export interface CalibratedGroup {
  readonly index: number;
  readonly layers: readonly number[];
  /** Groups behind the last one of several layers: 0 for such a group itself, Infinity before the first. */
  readonly sinceFold: number;
  /** The dense layer whose place the group's block takes. */
  readonly anchor: number;
  readonly batchCount: number;
  /** Of the whole text, or batches `from` … `to` − 1 of it. */
  batches(from?: number, to?: number): AsyncIterable<GroupBatch>;
}

/** A group's dense layers, their queries made for its anchor's place, and the anchor among them. */
export async function denseLayers(
  model: Pick<ModelRunner, "block">,
  { layers, anchor }: Pick<CalibratedGroup, "layers" | "anchor">,
): Promise<{ readonly layers: readonly BlockView[]; readonly anchor: BlockView }> {
  const dense: BlockView[] = [];
  for (const layer of layers) dense.push(await model.block(layer));
  const own = dense[layers.indexOf(anchor)];
  return { layers: dense.map((block) => placedBlock(block, own.spec)), anchor: own };
}

/** What `frontToBack` asks of a repair. */
export interface FrontToBackOptions {
  /** Whether `updates` are needed for a group. */
  readonly needsUpdates: (layers: readonly number[]) => boolean;
  /** Every so many-th batch only judges; 0 = none. */
  readonly heldOutEvery: number;
  /** Whether `fill` is asked for a group's block; else it stays as the strategy made it. Default: always. */
  readonly fills?: ((group: Pick<CalibratedGroup, "layers" | "sinceFold">) => boolean) | undefined;
  /** The block that a group's strategy made. */
  readonly folded: (group: number) => Promise<BlockView>;
  /** A group's repaired block, where an earlier run has left it. */
  readonly finished?: ((group: number) => Promise<BlockView | undefined>) | undefined;
  /** The repaired block. */
  readonly fill: (group: CalibratedGroup, block: BlockView) => Promise<BlockView>;
}

/** About so many tokens, in batches spread evenly over the text, tell the error before and after. */
const judgedTokens = 8192;

/**
 * Goes through a plan's groups from the front: runs the group's dense layers on the dense stream, lets `fill` make the group's block,
 * and runs that on the folded model's own stream. Both streams lie on disk between groups, so memory is a few blocks and one batch,
 * however much calibration text there is. Layers before the first one that differs from the dense model's stay as they are. Behind the last
 * group to fill there is nothing left to fit, and no error is measured.
 *
 * Cost: a run of both models; four streams on disk, 4 · tokens · hidden bytes each.
 *
 * @param plan - also consecutive groups of a plan, where `model.embed` gives the stream before the first
 * @throws CALIBRATION_EMPTY, INTERRUPTED, and what `fill` throws, with the group's layers named
 */
export async function* frontToBack(
  model: ModelRunner,
  plan: MergePlan,
  calibration: AsyncIterable<TokenBatch>,
  { needsUpdates, heldOutEvery, fills = () => true, folded: foldedBlock, finished, fill }: FrontToBackOptions,
  ctx: RunContext,
): AsyncIterable<RepairedBlock> {
  const stores = await hiddenStores();
  try {
    // In turn what stands before a group and behind it.
    const dense = [await stores.create("dense, even groups"), await stores.create("dense, odd groups")];
    const folded = await stores.create("folded");
    const updates = await stores.create("updates");
    let tokens = 0;
    for await (const batch of calibration) {
      throwIfAborted(ctx.signal);
      tokens += batch.lengths.reduce((sum, length) => sum + length, 0);
      const hidden = await model.embed(batch);
      await folded.put(folded.batchCount, hidden);
      await dense[0].put(dense[0].batchCount, hidden);
    }
    if (dense[0].batchCount === 0) {
      throw new LayerfoldError("CALIBRATION_EMPTY", "the calibration text gave no tokens");
    }
    const heldOut = (batch: number) => heldOutEvery > 0 && batch % heldOutEvery === heldOutEvery - 1;
    const count = dense[0].batchCount;
    const step = Math.max(1, Math.floor(tokens / judgedTokens));
    // Up to the first layer that is not the dense model's both streams are one, and there is nothing to repair.
    let exact = true;
    const toFill = plan.groups.map(({ layers }, i) => fills({ layers, sinceFold: sinceFold(plan, i) }));
    const last = toFill.lastIndexOf(true);
    for (const [index, planGroup] of plan.groups.entries()) {
      const { layers } = planGroup;
      if (index > last) {
        const block = await foldedBlock(index);
        reportRepaired(plan, index, ctx);
        yield { index, block };
        continue;
      }
      const known = await finished?.(index);
      const withUpdates = !known && needsUpdates(layers);
      const [source, target] = [dense[index % 2], dense[1 - (index % 2)]];
      const passed = { before: source, behind: target, ...(withUpdates && { updates }) };
      await runDense(model, layers, passed, ctx);
      const group: CalibratedGroup = {
        index,
        layers,
        sinceFold: sinceFold(plan, index),
        anchor: anchorLayer(planGroup),
        batchCount: count,
        async *batches(from = 0, to = count) {
          for (let b = from; b < to; b++) {
            throwIfAborted(ctx.signal);
            yield {
              input: await folded.get(b),
              dense: () => source.get(b),
              target: await target.get(b),
              ...(withUpdates && { updates: await updates.get(b) }),
              heldOut: heldOut(b),
            };
          }
        },
      };
      const unrepaired = await foldedBlock(index);
      exact &&= layers.length === 1 && (await sameOutput(model, group, unrepaired));
      if (exact) {
        for (let b = 0; b < count; b++) await folded.put(b, await target.get(b));
        reportRepaired(plan, index, ctx);
        yield { index, block: unrepaired, error: { before: 0, after: 0 } };
        continue;
      }
      const filled = async () => {
        const block = await fill(group, unrepaired).catch((error) => {
          throw errorWithin(error, groupName(planGroup));
        });
        // A fit must not wake what the plan silenced.
        return planGroup.without ? withScaledUpdates(block, 0, planGroup.without) : block;
      };
      const block = known ?? (toFill[index] ? await filled() : unrepaired);
      let [before, after, values] = [0, 0, 0];
      for (let b = 0; b < count; b++) {
        throwIfAborted(ctx.signal);
        const input = await folded.get(b);
        const { hidden } = await model.runBlock(group.anchor, input, { replace: block });
        await folded.put(b, hidden);
        if (b % step !== 0) continue;
        const wanted = await target.get(b);
        const error = squaredDifference(hidden, wanted);
        after += error;
        if (block === unrepaired) before += error;
        else {
          const without = await model.runBlock(group.anchor, input, { replace: unrepaired });
          before += squaredDifference(without.hidden, wanted);
        }
        values += wanted.lengths.reduce((sum, length) => sum + length, 0) * model.hiddenSize;
      }
      reportRepaired(plan, index, ctx);
      yield { index, block, error: { before: before / values, after: after / values } };
    }
  } finally {
    await stores.close();
  }
}

function sinceFold({ groups }: MergePlan, index: number): number {
  const fold = groups.findLastIndex(({ layers }, i) => i <= index && layers.length > 1);
  return fold < 0 ? Number.POSITIVE_INFINITY : index - fold;
}

/** Progress of a repair, once a group's block is done. */
export function reportRepaired({ groups }: MergePlan, index: number, ctx: RunContext): void {
  ctx.report?.({ type: "progress", stage: "repair", done: index + 1, total: groups.length, unit: "blocks" });
}

/** Whether a block gives the dense model's own stream, judged by the first batch. */
async function sameOutput(model: ModelRunner, group: CalibratedGroup, block: BlockView): Promise<boolean> {
  for await (const { input, target } of group.batches()) {
    const { hidden } = await model.runBlock(group.anchor, input, { replace: block });
    return squaredDifference(hidden, target) === 0;
  }
  return false;
}

/**
 * Takes the dense stream from before the group's layers to behind them, and lays down the sum of their attention updates where asked. All
 * batches go through one layer before the next, so that each layer's weights are read once.
 */
async function runDense(
  model: ModelRunner,
  layers: readonly number[],
  { before, behind, updates }: Readonly<Record<"before" | "behind", HiddenStore>> & { updates?: HiddenStore },
  ctx: RunContext,
) {
  const taps: Tap[] = updates ? ["attention.update"] : [];
  for (const [i, layer] of layers.entries()) {
    for (let b = 0; b < before.batchCount; b++) {
      throwIfAborted(ctx.signal);
      const out = await model.runBlock(layer, await (i === 0 ? before : behind).get(b), { taps });
      await behind.put(b, out.hidden);
      if (!updates) continue;
      const states = out.taps.get("attention.update")!;
      if (i > 0) {
        const { data } = (await updates.get(b)).states;
        for (let j = 0; j < data.length; j++) states.data[j] += data[j];
      }
      await updates.put(b, { states, lengths: out.hidden.lengths });
    }
  }
}

/** Calls `visit` with the start of every real token's values in a batch's row-major states, and its running number. */
export function eachToken({ states, lengths }: Hidden, visit: (start: number, token: number) => void): void {
  const [, sequence, width] = states.shape;
  let token = 0;
  lengths.forEach((length, b) => {
    for (let s = 0; s < length; s++) visit(states.offset + (b * sequence + s) * width, token++);
  });
}

/** Squared difference of two streams, summed over the real tokens. */
export function squaredDifference(a: Hidden, b: Hidden): number {
  const [left, right] = [a.states.data, b.states.data];
  const width = a.states.shape[2];
  const shift = b.states.offset - a.states.offset;
  let sum = 0;
  eachToken(a, (start) => {
    // A sum of its own: what the closure shares is slow to add to.
    let square = 0;
    for (let i = start; i < start + width; i++) square += (left[i] - right[i + shift]) ** 2;
    sum += square;
  });
  return sum;
}

/**
 * A repair's `fit` where each group's block is filled by itself, with the options that least-squares fits share: the shortest way to a repair
 * of one's own. Batches are held out where there are several ridges to choose from, or as `holdsOut` says.
 */
export function groupByGroup<Options extends FitOptions>(
  options: Options,
  fill: (
    model: ModelRunner,
    group: CalibratedGroup,
    block: BlockView,
    options: Options,
    ctx: RunContext,
  ) => Promise<BlockView>,
  holdsOut = options.ridge.length > 1,
): Repair["fit"] {
  return (model, plan, folded, calibration, ctx, finished) =>
    frontToBack(
      model,
      plan,
      calibration(),
      {
        needsUpdates: () => false,
        heldOutEvery: holdsOut ? options.heldOutEvery : 0,
        folded,
        finished,
        fill: (group, block) => fill(model, group, block, options, ctx),
      },
      ctx,
    );
}
