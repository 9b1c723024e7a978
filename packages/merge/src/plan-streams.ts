import {
  type BlockView,
  contiguousData,
  type Hidden,
  keptLayer,
  type MergePlan,
  type ModelRunner,
  type PlanGroup,
  type RunContext,
  type TokenBatch,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import { type FloatSpill, openFloatSpill, streamMemory } from "@layerfold/disk";

/** The streams of a text behind every group of one plan after another. */
export interface PlanStreams {
  /**
   * Runs a plan, from the first group on that differs from the plan before.
   * @param count - groups to run, from the front; default: all
   * @returns index of the first group whose streams are no longer those of the plan before; the number of groups where there is none
   */
  run(plan: MergePlan, count?: number): Promise<number>;
  /** Behind a group that was run of the last plan, batch by batch. Do not change them. */
  behind(group: number): AsyncIterable<Hidden>;
  /** Removes what lies on disk; the runner stays open. */
  close(): Promise<void>;
}

/**
 * Runs plan after plan on the same text and remembers the last one's streams at every depth: a plan that begins like the last one runs
 * only what comes after. Planners that try every layer from front to back so run half the layers.
 *
 * Memory: `streamMemory` of what `ctx` allows; the other streams lie in a temporary file. All together 4 · tokens · hiddenSize ·
 * (layers + 1) bytes.
 *
 * @param merged - the block of a group that is no drop, where plans have such groups
 * @throws DISK_FULL when a plan runs
 */
export function planStreams(
  runner: ModelRunner,
  batches: readonly TokenBatch[],
  merged: ((group: PlanGroup) => Promise<BlockView>) | undefined,
  ctx: RunContext,
): PlanStreams {
  const { hiddenSize, layerCount } = runner;
  let opened: Promise<FloatSpill> | undefined;
  /** What tells the groups of the last plan apart, as far as their streams are there. */
  let keys: string[] = [];

  async function openSpill(): Promise<FloatSpill> {
    const positions = batches.reduce(
      (sum, { batchSize, sequenceLength }) => sum + batchSize * sequenceLength,
      0,
    );
    const spill = await openFloatSpill({
      memoryBytes: streamMemory(ctx.memory),
      expectedBytes: 4 * positions * hiddenSize * (layerCount + 1),
    });
    try {
      for (const [b, batch] of batches.entries()) {
        await spill.put(b, contiguousData((await runner.embed(batch)).states));
      }
      return spill;
    } catch (error) {
      await spill.close();
      throw error;
    }
  }
  const spilled = () => {
    opened ??= openSpill();
    opened.catch(() => {
      opened = undefined;
    });
    return opened;
  };

  async function streamOf(spill: FloatSpill, depth: number, b: number): Promise<Hidden> {
    const { batchSize, sequenceLength, lengths } = batches[b];
    const values = await spill.get(depth * batches.length + b);
    return { states: tensor(values, [batchSize, sequenceLength, hiddenSize]), lengths };
  }

  return {
    async run(plan, count = plan.groups.length) {
      const spill = await spilled();
      const wanted = plan.groups.map((group) => keptLayer(group)?.toString() ?? JSON.stringify(group));
      const differs = wanted.findIndex((key, index) => keys[index] !== key);
      const first = differs < 0 ? wanted.length : differs;
      keys = keys.slice(0, first);
      for (const [index, group] of plan.groups.slice(0, count).entries()) {
        if (index < first) continue;
        throwIfAborted(ctx.signal);
        const kept = keptLayer(group);
        const replace = kept === undefined ? await merged?.(group) : undefined;
        for (const b of batches.keys()) {
          const before = await streamOf(spill, index, b);
          const { hidden } = await runner.runBlock(kept ?? group.layers[0], before, { replace });
          await spill.put((index + 1) * batches.length + b, contiguousData(hidden.states));
        }
        keys.push(wanted[index]);
      }
      return first;
    },
    async *behind(group) {
      const spill = await spilled();
      for (const b of batches.keys()) yield streamOf(spill, group + 1, b);
    },
    async close() {
      await (await opened?.catch(() => undefined))?.close();
    },
  };
}
