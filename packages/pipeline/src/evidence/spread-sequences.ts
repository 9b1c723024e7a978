import type { TokenSequence } from "@layerfold/checkpoint";

/** Sequences spread evenly over a text, about so many tokens. */
export function spreadSequences(
  sequences: readonly TokenSequence[],
  tokens: number,
): readonly TokenSequence[] {
  const tokenCount = sequences.reduce((sum, { ids }) => sum + ids.length, 0);
  const share = Math.max(1, tokenCount / tokens);
  return sequences.filter((_, i) => Math.floor(i / share) !== Math.floor((i - 1) / share));
}
