import type { Tensor } from "./tensor.js";

/**
 * Token windows, right-padded to one length. Positions at or beyond a row's length are padding: they are never attended to by
 * a real token and never reach a result.
 */
export interface TokenBatch {
  readonly batchSize: number;
  readonly sequenceLength: number;
  /** [batchSize, sequenceLength] row-major token ids; any valid id at padded positions. */
  readonly inputIds: Int32Array;
  /** [batchSize] number of real tokens of each row, 1 … sequenceLength. */
  readonly lengths: Int32Array;
}

/** The residual stream of a batch at one depth. */
export interface Hidden {
  /** [batchSize, sequenceLength, hiddenSize] float32; what stands at padded positions is unspecified. */
  readonly states: Tensor<Float32Array>;
  /** [batchSize] number of real tokens of each row. */
  readonly lengths: Int32Array;
}

/**
 * Right-pads rows of token ids into one batch.
 *
 * @param rows - token ids, at least one row, none empty
 * @param padId - id to fill with; it never influences a result
 *
 * @example
 * ```ts
 * const batch = tokenBatch([[5, 6, 7], [8]]);
 * assert(batch.sequenceLength === 3);
 * assert(batch.lengths[1] === 1);
 * ```
 */
export function tokenBatch(rows: readonly ArrayLike<number>[], padId = 0): TokenBatch {
  const sequenceLength = rows.reduce((longest, row) => Math.max(longest, row.length), 0);
  const inputIds = new Int32Array(rows.length * sequenceLength).fill(padId);
  rows.forEach((row, i) => {
    inputIds.set(row, i * sequenceLength);
  });
  return {
    batchSize: rows.length,
    sequenceLength,
    inputIds,
    lengths: Int32Array.from(rows, (row) => row.length),
  };
}
