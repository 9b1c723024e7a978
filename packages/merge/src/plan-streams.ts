import {
  type BlockView,
  type Hidden,
  keptLayer,
  type MergePlan,
  type ModelRunner,
  type PlanGroup,
  type RunContext,
  type TokenBatch,
  throwIfAborted,
} from "@layerfold/core";

/**
 * Runs plan after plan on the same text and remembers the last one's streams at every depth: a plan that begins like the last one runs
 * only what comes after. Planners that try every layer from front to back so run half the layers.
 *
 * @param merged - the block of a group that is no drop, where plans have such groups
 * @returns the stream before the final norm, one per batch. Memory: layers · tokens · hiddenSize float32
 */
export function planStreams(
  runner: ModelRunner,
  batches: readonly TokenBatch[],
  merged: ((group: PlanGroup) => Promise<BlockView>) | undefined,
  ctx: RunContext,
): (plan: MergePlan) => Promise<readonly Hidden[]> {
  /** Streams before any block, then behind each group of the last plan. */
  let embedded: readonly Hidden[] | undefined;
  let behind: { readonly key: string; readonly streams: readonly Hidden[] }[] = [];
  return async (plan) => {
    if (!embedded) {
      const streams: Hidden[] = [];
      for (const batch of batches) streams.push(await runner.embed(batch));
      embedded = streams;
    }
    const keys = plan.groups.map((group) => keptLayer(group)?.toString() ?? JSON.stringify(group));
    const differs = keys.findIndex((key, index) => behind[index]?.key !== key);
    behind = behind.slice(0, differs < 0 ? keys.length : differs);
    for (const [index, group] of plan.groups.entries()) {
      if (index < behind.length) continue;
      throwIfAborted(ctx.signal);
      const kept = keptLayer(group);
      const replace = kept === undefined ? await merged?.(group) : undefined;
      const before = behind.at(-1)?.streams ?? embedded;
      const streams: Hidden[] = [];
      for (const hidden of before) {
        streams.push((await runner.runBlock(kept ?? group.layers[0], hidden, { replace })).hidden);
      }
      behind.push({ key: keys[index], streams });
    }
    return behind.at(-1)!.streams;
  };
}
