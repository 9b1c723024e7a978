import { batchBySize, type Tokenizer } from "@layerfold/checkpoint";
import {
  contiguousData,
  firstOf,
  type LanguageModel,
  type PassContext,
  type TokenBranch,
  type TokenMemory,
  type TreeModel,
  type TreeTarget,
  throwIfAborted,
  tokenBatch,
} from "@layerfold/core";
import { type AskedModel, readsTree } from "./score-sequences.js";
import { type TreeNode, tokenTree } from "./token-tree.js";

/** A prompt that a model answers. */
export interface Prompt {
  readonly ids: readonly number[];
  readonly until: readonly string[];
  readonly maxTokens: number;
}

export interface GenerationOptions {
  /** Tokens that end an answer. */
  readonly endTokens: readonly number[];
  /** Told how many prompts are answered. */
  readonly advance?: (done: number) => void;
}

/** Prompts that are answered side by side. */
const together = 16;
/** Tokens that are read at once. */
const tokensAtOnce = 512;

/**
 * Answers prompts by the most probable token each time, several side by side, until an end token, one of `until`, or `maxTokens`.
 * @returns the texts, as the harness cuts them: up to the first of `until`, special tokens left out
 */
export async function generateAnswers(
  model: AskedModel,
  tokenizer: Tokenizer,
  prompts: readonly Prompt[],
  { endTokens, advance }: GenerationOptions,
  ctx: PassContext,
): Promise<string[]> {
  const answers = new Array<string>(prompts.length);
  const order = prompts
    .map((_, index) => index)
    .sort((a, b) => prompts[a].ids.length - prompts[b].ids.length || a - b);
  let done = 0;
  for (let first = 0; first < order.length; first += together) {
    const group = order.slice(first, first + together);
    const texts = group.map(() => [] as number[]);
    const open = new Set(group.keys());
    /** Takes the next token of a text. @returns whether the text goes on */
    const accept = (index: number, token: number): boolean => {
      const { until, maxTokens } = prompts[group[index]];
      let ends = endTokens.includes(token);
      if (!ends) {
        texts[index].push(token);
        ends = texts[index].length >= maxTokens || stopped(texts[index], until);
      }
      if (ends) {
        open.delete(index);
        answers[group[index]] = cutAnswer(decoded(texts[index]), until);
        advance?.(++done);
      }
      return !ends;
    };
    const inputs = group.map((index) => prompts[index].ids);
    if (readsTree(model)) await continueTree(model, inputs, accept, ctx);
    else await continueRows(model, inputs, texts, open, accept, ctx);
  }
  return answers;

  function decoded(ids: readonly number[]): string {
    return tokenizer.decode(ids, { skipSpecialTokens: true });
  }

  function stopped(ids: readonly number[], until: readonly string[]): boolean {
    const text = decoded(ids);
    return until.some((end) => end !== "" && text.includes(end));
  }
}

function cutAnswer(text: string, until: readonly string[]): string {
  return until.reduce((left, end) => (end === "" ? left : left.split(end)[0]), text);
}

type Accept = (index: number, token: number) => boolean;

async function continueTree(
  model: TreeModel,
  prompts: readonly (readonly number[])[],
  accept: Accept,
  ctx: PassContext,
): Promise<void> {
  const { branches, ends } = flattened(
    tokenTree(
      prompts,
      prompts.map((ids, sequence) => ({ sequence, position: ids.length - 1 })),
    ),
    prompts.length,
  );
  let memory: TokenMemory | undefined;
  /** Branch of the memory that each open text ends with. */
  let last = new Map<number, number>();
  let part: TokenBranch[] = [];
  let read = 0;
  let size = 0;
  const next = new Map<number, number>();
  const flush = async () => {
    const targets: (TreeTarget & { readonly prompt: number })[] = [];
    ends.forEach((branch, prompt) => {
      if (branch < read || branch >= read + part.length) return;
      targets.push({ branch: branch - read, position: part[branch - read].ids.length - 1, id: 0, prompt });
    });
    const reading = await model.read({ after: memory, branches: part, targets, remember: true }, ctx);
    targets.forEach(({ prompt }, i) => {
      next.set(prompt, reading.scores.best[i]);
      last.set(prompt, ends[prompt]);
    });
    memory = reading.memory;
    read += part.length;
    part = [];
    size = 0;
  };
  for (const branch of branches) {
    if (size > 0 && size + branch.ids.length > tokensAtOnce) await flush();
    part.push(branch);
    size += branch.ids.length;
  }
  await flush();

  for (let step = 0; ; step++) {
    throwIfAborted(ctx.signal);
    const open = [...next].filter(([prompt, token]) => accept(prompt, token));
    if (open.length === 0) return;
    // Behind the first token every text ends with a branch of its own.
    if (memory && step > 0 && open.length < last.size && open.length <= prompts.length / 2) {
      // What those that have ended were about is only in the way.
      const kept: number[] = open.map(([prompt]) => last.get(prompt)!);
      memory = model.keep(memory, kept);
      const first = memory.branches - kept.length;
      last = new Map(open.map(([prompt], i) => [prompt, first + i]));
    }
    const firstNew = memory?.branches ?? 0;
    const reading = await model.read(
      {
        after: memory,
        branches: open.map(([prompt, token]) => ({ after: last.get(prompt)!, ids: [token] })),
        targets: open.map((_, branch) => ({ branch, position: 0, id: 0 })),
        remember: true,
      },
      ctx,
    );
    memory = reading.memory;
    next.clear();
    open.forEach(([prompt], i) => {
      next.set(prompt, reading.scores.best[i]);
      last.set(prompt, firstNew + i);
    });
    for (const prompt of last.keys()) if (!next.has(prompt)) last.delete(prompt);
  }
}

/** The branches of a tree, none longer than what is read at once, and the one that each prompt ends with. */
function flattened(roots: readonly TreeNode[], prompts: number) {
  const branches: TokenBranch[] = [];
  const ends = new Array<number>(prompts).fill(-1);
  const add = ({ ids, children, asked }: TreeNode, after: number) => {
    const cuts = new Set<number>([ids.length]);
    for (const { at } of asked) cuts.add(at + 1);
    for (let at = tokensAtOnce; at < ids.length; at += tokensAtOnce) cuts.add(at);
    let from = 0;
    let last = after;
    for (const to of [...cuts].sort((a, b) => a - b)) {
      branches.push({ after: last, ids: ids.slice(from, to) });
      last = branches.length - 1;
      for (const { at, target } of asked) if (at === to - 1) ends[target] = last;
      from = to;
    }
    for (const child of children) add(child, last);
  };
  for (const root of roots) add(root, -1);
  return { branches, ends };
}

/** For a model that remembers nothing: every token costs a pass over its whole text. */
async function continueRows(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  texts: readonly (readonly number[])[],
  open: ReadonlySet<number>,
  accept: Accept,
  ctx: PassContext,
): Promise<void> {
  while (open.size > 0) {
    throwIfAborted(ctx.signal);
    const going = [...open];
    const rows = going.map((index) => [...prompts[index], ...texts[index]]);
    for (const { indices } of batchBySize(rows, 1024)) {
      const logits = await firstOf(model.lastLogits([tokenBatch(indices.map((row) => rows[row]))], ctx));
      const values = contiguousData(logits);
      indices.forEach((row, i) => {
        let best = 0;
        const at = i * model.vocabularySize;
        for (let id = 1; id < model.vocabularySize; id++) if (values[at + id] > values[at + best]) best = id;
        accept(going[row], best);
      });
    }
  }
}
