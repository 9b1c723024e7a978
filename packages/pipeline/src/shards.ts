import type { TokenSequence } from "@layerfold/checkpoint";
import type { Execution } from "@layerfold/graph";

/** Tokens of a shard; the last has from half as many to half as many again. Block by block every shard reads all weights anew. */
const shardTokens: Readonly<Record<Execution, number>> = { whole: 16_384, blocks: 131_072 };

/**
 * Cuts a text into shards that are looked at one by one, on as many machines as there are: how many depends on the text alone, so that a sum over
 * them is the same bit for bit whoever did them.
 * @param counts - whether a sequence gives anything at all: no shard is without one that does, unless the whole text is
 */
export function shardsOf(
  sequences: readonly TokenSequence[],
  execution: Execution,
  counts: (sequence: TokenSequence) => boolean,
): readonly (readonly TokenSequence[])[] {
  const shards: TokenSequence[][] = [];
  let shard: TokenSequence[] = [];
  let [tokens, useful] = [0, false];
  for (const sequence of sequences) {
    shard.push(sequence);
    tokens += sequence.ids.length;
    useful ||= counts(sequence);
    if (!useful || tokens < shardTokens[execution]) continue;
    shards.push(shard);
    [shard, tokens, useful] = [[], 0, false];
  }
  if (shard.length > 0) {
    if (shards.length === 0 || (useful && tokens >= shardTokens[execution] / 2)) shards.push(shard);
    else shards.at(-1)!.push(...shard);
  }
  // As it was, so that it is known again.
  return shards.length === 1 ? [sequences] : shards;
}
