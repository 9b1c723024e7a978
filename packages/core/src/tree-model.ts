import type { PassContext } from "./language-model.js";

/** Tokens that go on after others: texts that begin alike are a tree of them. */
export interface TokenBranch {
  /**
   * The branch that goes before: first those that the memory holds are counted, in the order in which they were read, then those of the same
   * call; it must be an earlier one. -1: nothing goes before.
   */
  readonly after: number;
  /** At least one. */
  readonly ids: ArrayLike<number>;
}

/** A token whose probability is wanted. */
export interface TreeTarget {
  /** Index into the branches of the call. */
  readonly branch: number;
  /** Index into that branch's ids, of the token that goes before. */
  readonly position: number;
  /** What may come next. */
  readonly id: number;
}

/** One entry for each target. */
export interface TreeScores {
  /** [targets] log p(id | all before it), nats. */
  readonly logProbabilities: Float32Array;
  /** [targets] the most probable id in that place. */
  readonly best: Int32Array;
}

/** What a model has read and can go on from. It is never changed: several calls may go on from one. */
export interface TokenMemory {
  /** How many branches. */
  readonly branches: number;
  /** How many tokens. */
  readonly tokens: number;
}

/** What is read in one call. */
export interface TreeReading {
  readonly after?: TokenMemory | undefined;
  readonly branches: readonly TokenBranch[];
  readonly targets: readonly TreeTarget[];
  /** Hand back a memory of it all; default false. */
  readonly remember?: boolean | undefined;
}

/**
 * A model that reads many texts at once, as a tree: what they have in common is computed once, nothing is padded, and only the rows that are
 * asked about go through the vocabulary. No text sees a token of another: every figure is that of the text alone, to rounding.
 */
export interface TreeModel {
  readonly vocabularySize: number;
  /**
   * Cost: one pass over the weights; attention takes tokens · (tokens + those of the memory), so trees of some 500 tokens are best.
   * @throws BATCH_INVALID, TOKEN_OUT_OF_RANGE, SEQUENCE_TOO_LONG, INTERRUPTED
   */
  read(
    reading: TreeReading,
    ctx?: PassContext,
  ): Promise<{ readonly scores: TreeScores; readonly memory?: TokenMemory }>;
  /** The same memory without what does not lead to these branches, which are then the last ones, in this order. */
  keep(memory: TokenMemory, branches: readonly number[]): TokenMemory;
}
