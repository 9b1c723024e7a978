import type { TokenSequence } from "@layerfold/checkpoint";

/**
 * Tokens of a shard; the last has from half as many to half as many again. Large enough that reading a model's weights once more for each, as one
 * that runs block by block does, takes less than its products.
 */
const shardTokens = 16_384;

/**
 * Cuts a text into shards that are looked at one by one, on as many machines as there are: how many depends on the text alone, so that a sum over
 * them is the same bit for bit whoever did them.
 * @param counts - whether a sequence gives anything at all: no shard is without one that does, unless the whole text is
 */
export function shardsOf(
  sequences: readonly TokenSequence[],
  counts: (sequence: TokenSequence) => boolean,
): readonly (readonly TokenSequence[])[] {
  const shards: TokenSequence[][] = [];
  let shard: TokenSequence[] = [];
  let [tokens, useful] = [0, false];
  for (const sequence of sequences) {
    shard.push(sequence);
    tokens += sequence.ids.length;
    useful ||= counts(sequence);
    if (!useful || tokens < shardTokens) continue;
    shards.push(shard);
    [shard, tokens, useful] = [[], 0, false];
  }
  if (shard.length > 0) {
    if (shards.length === 0 || (useful && tokens >= shardTokens / 2)) shards.push(shard);
    else shards.at(-1)!.push(...shard);
  }
  // As it was, so that it is known again.
  return shards.length === 1 ? [sequences] : shards;
}
