import type { TokenSequence } from "@layerfold/checkpoint";
import { tokensOf } from "../calibration/read-calibration.js";

/** Sequences spread evenly over a text, about so many tokens. */
export function spreadSequences(
  sequences: readonly TokenSequence[],
  tokens: number,
): readonly TokenSequence[] {
  const share = Math.max(1, tokensOf(sequences) / tokens);
  return sequences.filter((_, i) => Math.floor(i / share) !== Math.floor((i - 1) / share));
}
