import { type TokenBatch, tokenBatch } from "@layerfold/core";

/** A batch, and where its rows come from. */
export interface IndexedBatch {
  readonly batch: TokenBatch;
  /** [batchSize] index of each row in the list that was batched. */
  readonly indices: readonly number[];
}

/**
 * Sorts rows of token ids by length, longest first, into right-padded batches of at most `maxTokensPerBatch` positions, padding
 * counted; a row that is longer than that is a batch of its own.
 *
 * @example
 * ```ts
 * const [first, second] = batchBySize([[1], [2, 3, 4], [5, 6]], 6);
 * assert(first.indices.join() === "1,2");
 * assert(second.indices.join() === "0");
 * ```
 */
export function batchBySize(rows: readonly ArrayLike<number>[], maxTokensPerBatch: number): IndexedBatch[] {
  const order = rows.map((_, index) => index).sort((a, b) => rows[b].length - rows[a].length || a - b);
  const batches: IndexedBatch[] = [];
  for (let start = 0; start < order.length; ) {
    const longest = rows[order[start]].length;
    const count = Math.max(1, Math.floor(maxTokensPerBatch / longest));
    const indices = order.slice(start, start + count);
    batches.push({ batch: tokenBatch(indices.map((index) => rows[index])), indices });
    start += count;
  }
  return batches;
}
