import { batchBySize } from "@layerfold/checkpoint";
import {
  contiguousData,
  type LanguageModel,
  type PassContext,
  type TokenBranch,
  type TokenMemory,
  type TreeModel,
  type TreeTarget,
  throwIfAborted,
} from "@layerfold/core";
import { logitsPerBatch } from "../batch-budget.js";
import { logSumExp } from "../log-sum-exp.js";
import { paired } from "../paired.js";
import type { Sequence } from "./encode.js";
import { type Asked, type TreeNode, tokenTree } from "./token-tree.js";

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

/** Tokens that are read at once: enough to keep the processor busy, few enough that attention does not look at much that it must not see. */
const together = 512;
/** A common beginning that is shorter than this is read anew with every part of its tree, which costs less than a pass of its own. */
const worthRemembering = 64;

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

/** What stands before some nodes: what is remembered, and a little that is read with each part anew. */
interface Before {
  readonly memory?: TokenMemory | undefined;
  /** Branch of the memory that they go on after. */
  readonly after: number;
  readonly ids: readonly number[];
}

/** Reads a tree part by part. @param wanted - the token that a target is */
export function treeReader(
  model: TreeModel,
  ctx: PassContext,
  found: (target: number, logProbability: number, best: number) => void,
  wanted: (target: number) => number,
) {
  /** What is read in the next call. */
  interface Part {
    branches: TokenBranch[];
    targets: TreeTarget[];
    asked: number[];
  }

  async function call({ branches, targets, asked }: Part, memory: TokenMemory | undefined, remember = false) {
    const reading = await model.read({ after: memory, branches, targets, remember }, ctx);
    const { logProbabilities, best } = reading.scores;
    asked.forEach((target, i) => {
      found(target, logProbabilities[i], best[i]);
    });
    return reading.memory;
  }

  /** Writes a node and all below it into a part. */
  function add(part: Part, node: TreeNode, after: number, remembered: number, from = 0): void {
    const branch = part.branches.length;
    part.branches.push({ after, ids: from > 0 ? node.ids.slice(from) : node.ids });
    for (const { at, target } of node.asked) {
      if (at < from) continue;
      part.targets.push({ branch, position: at - from, id: wanted(target) });
      part.asked.push(target);
    }
    for (const child of node.children) add(part, child, remembered + branch, remembered);
  }

  async function read(nodes: readonly TreeNode[], before: Before = { after: -1, ids: [] }): Promise<void> {
    const { memory, after, ids } = before;
    const remembered = memory?.branches ?? 0;
    const begin = (): Part => ({
      branches: ids.length > 0 ? [{ after, ids }] : [],
      targets: [],
      asked: [],
    });
    const from = ids.length > 0 ? remembered : after;
    let part = begin();
    let size = ids.length;
    const flush = async () => {
      if (part.branches.length > (ids.length > 0 ? 1 : 0)) await call(part, memory);
      part = begin();
      size = ids.length;
    };
    for (const node of nodes) {
      if (ids.length + node.size <= together) {
        if (size + node.size > together) await flush();
        add(part, node, from, remembered);
        size += node.size;
        continue;
      }
      const asksNothing = node.asked.length === 0;
      if (asksNothing && node.children.length > 0 && ids.length + node.ids.length < worthRemembering) {
        await read(node.children, { memory, after, ids: [...ids, ...node.ids] });
      } else await readLong(node, before);
    }
    await flush();
  }

  /** A node whose tree is too large for one part: the node itself piece by piece, then what is below it. */
  async function readLong(node: TreeNode, { memory, after, ids }: Before): Promise<void> {
    const whole: TreeNode = {
      ...node,
      ids: [...ids, ...node.ids],
      asked: node.asked.map(({ at, target }) => ({ at: at + ids.length, target })),
    };
    let known = memory;
    let last = after;
    for (let from = 0; from < whole.ids.length; from += together) {
      const to = Math.min(whole.ids.length, from + together);
      const part: Part = {
        branches: [{ after: last, ids: whole.ids.slice(from, to) }],
        targets: [],
        asked: [],
      };
      for (const { at, target } of whole.asked) {
        if (at < from || at >= to) continue;
        part.targets.push({ branch: 0, position: at - from, id: wanted(target) });
        part.asked.push(target);
      }
      last = known?.branches ?? 0;
      known = await call(part, known, to < whole.ids.length || whole.children.length > 0);
    }
    await read(node.children, { memory: known, after: last, ids: [] });
  }

  return { read };
}
