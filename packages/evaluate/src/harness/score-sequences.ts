import { batchBySize } from "@layerfold/checkpoint";
import {
  contiguousData,
  type LanguageModel,
  type PassContext,
  type TreeModel,
  throwIfAborted,
} from "@layerfold/core";
import { logitsPerBatch } from "../batch-budget.js";
import { logSumExp } from "../log-sum-exp.js";
import { paired } from "../paired.js";
import type { Sequence } from "./encode.js";
import { type Asked, type TreeNode, tokenTree } from "./token-tree.js";
import { treeReader } from "./tree-reader.js";

/** How likely a model finds what goes on. */
export interface SequenceScore {
  /** Sum over the scored tokens, nats. */
  readonly logLikelihood: number;
  /** Whether every scored token is the most probable one in its place. */
  readonly greedy: boolean;
}

/** A model that is asked: a tree of texts at once where it can read one, else text by text. */
export type AskedModel = LanguageModel | TreeModel;

export function readsTree(model: AskedModel): model is TreeModel {
  return "read" in model;
}

export interface ScoreOptions {
  /** Told how many sequences are scored, from time to time. */
  readonly advance?: (done: number) => void;
  /** Compute what sequences begin with alike once; default true. */
  readonly shareBeginnings?: boolean | undefined;
}

/** Scores the ends of sequences, each alone. @throws INTERRUPTED, and what the model throws */
export async function scoreSequences(
  model: AskedModel,
  sequences: readonly Sequence[],
  options: ScoreOptions,
  ctx: PassContext,
): Promise<SequenceScore[]> {
  const logProbabilities = sequences.map(({ ids, from }) => new Float64Array(ids.length - from));
  const greedy = sequences.map(() => true);
  const left = sequences.map(({ ids, from }) => ids.length - from);
  let done = 0;
  const take = (sequence: number, index: number, logProbability: number, best: number) => {
    logProbabilities[sequence][index] = logProbability;
    const { ids, from } = sequences[sequence];
    if (best !== ids[from + index]) greedy[sequence] = false;
    if (--left[sequence] === 0) options.advance?.(++done);
  };
  if (readsTree(model)) await scoreTree(model, sequences, take, options, ctx);
  else await scoreRows(model, sequences, take, ctx);
  return logProbabilities.map((values, i) => ({
    logLikelihood: values.reduce((sum, value) => sum + value, 0),
    greedy: greedy[i],
  }));
}

type Take = (sequence: number, index: number, logProbability: number, best: number) => void;

/** A row for each sequence, and the logits of all its tokens. */
async function scoreRows(
  model: LanguageModel,
  sequences: readonly Sequence[],
  take: Take,
  ctx: PassContext,
): Promise<void> {
  const batches = batchBySize(
    sequences.map(({ ids }) => ids.slice(0, -1)),
    logitsPerBatch(model, {}),
  );
  const answers = model.logits(
    batches.map(({ batch }) => batch),
    ctx,
  );
  for await (const [{ batch, indices }, found] of paired(batches, answers)) {
    throwIfAborted(ctx.signal);
    const logits = contiguousData(found);
    indices.forEach((sequence, row) => {
      const { ids, from } = sequences[sequence];
      for (let target = from; target < ids.length; target++) {
        const at = (row * batch.sequenceLength + target - 1) * model.vocabularySize;
        const values = logits.subarray(at, at + model.vocabularySize);
        const { best, logSum } = logSumExp(values);
        take(sequence, target - from, values[ids[target]] - logSum, best);
      }
    });
  }
}

async function scoreTree(
  model: TreeModel,
  sequences: readonly Sequence[],
  take: Take,
  { shareBeginnings = true }: ScoreOptions,
  ctx: PassContext,
): Promise<void> {
  const targets: (Asked & { readonly index: number })[] = sequences.flatMap(({ ids, from }, sequence) =>
    ids.slice(from).map((_, index) => ({ sequence, position: from + index - 1, index })),
  );
  const inputs = sequences.map(({ ids }) => ids.slice(0, -1));
  const groups = shareBeginnings ? [inputs.map((_, i) => i)] : inputs.map((_, i) => [i]);
  let roots: readonly TreeNode[];
  if (shareBeginnings) roots = tokenTree(inputs, targets);
  else {
    // Each sequence by itself, shortest first.
    const own = new Map<number, number[]>();
    targets.forEach(({ sequence }, target) => {
      const list = own.get(sequence);
      if (list) list.push(target);
      else own.set(sequence, [target]);
    });
    groups.sort(([a], [b]) => inputs[a].length - inputs[b].length);
    roots = groups.map(([sequence]) => ({
      ids: inputs[sequence],
      children: [],
      size: inputs[sequence].length,
      asked: (own.get(sequence) ?? []).map((target) => ({ at: targets[target].position, target })),
    }));
  }
  const reader = treeReader(
    model,
    ctx,
    (target, logProbability, best) => {
      const { sequence, index } = targets[target];
      take(sequence, index, logProbability, best);
    },
    (target) => {
      const { sequence, index } = targets[target];
      const { ids, from } = sequences[sequence];
      return ids[from + index];
    },
  );
  await reader.read(roots);
}
