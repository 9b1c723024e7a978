import { type BlockView, keptLayer, type MergePlan, type ModelRunner } from "@layerfold/core";

/**
 * Runs a folded model without writing it: the dense model's runner, with each group's block in the place of its layers.
 *
 * @param folded - from `foldedBlocks`, or blocks that a repair left. A merged block is asked for once and kept, so the runner holds as
 * many blocks as the plan merges; a kept layer is asked for whenever it runs.
 * @returns a runner of `plan.groups.length` layers; closing it closes the dense runner
 */
export function foldedRunner(
  runner: ModelRunner,
  plan: MergePlan,
  folded: (group: number) => Promise<BlockView>,
): ModelRunner {
  const merged = new Map<number, Promise<BlockView>>();
  const blockOf = (group: number) => {
    if (keptLayer(plan.groups[group]) !== undefined) return folded(group);
    const made = merged.get(group) ?? folded(group);
    merged.set(group, made);
    return made;
  };
  return {
    layerCount: plan.groups.length,
    hiddenSize: runner.hiddenSize,
    vocabularySize: runner.vocabularySize,
    embed: (batch) => runner.embed(batch),
    async runBlock(group, input, { replace, ...options } = {}) {
      const block = await blockOf(group);
      // What is no tensor, such as a sliding window, is taken from the layer whose place the block takes.
      return runner.runBlock(block.layer, input, { replace: replace ?? block, ...options });
    },
    head: (hidden) => runner.head(hidden),
    logProbabilities: (rows, targets) => runner.logProbabilities(rows, targets),
    block: blockOf,
    close: () => runner.close(),
  };
}
