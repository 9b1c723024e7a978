import { LayerfoldError } from "@layerfold/core";

/**
 * Which token streams become samples: of each row the last real token, the mean over its real tokens, all real tokens, or those at
 * positions k−1, 2k−1, … (a row shorter than k gives none).
 */
export type Pooling = "last" | "mean" | "all" | { readonly every: number };

/**
 * Reads `last`, `mean`, `all` or `every:k`.
 * @throws POOLING_UNKNOWN
 *
 * @example
 * ```ts
 * const pooling = parsePooling("every:4");
 * assert(poolingName(pooling) === "every:4");
 * ```
 */
export function parsePooling(text: string): Pooling {
  if (text === "last" || text === "mean" || text === "all") return text;
  const every = /^every:([1-9]\d*)$/.exec(text);
  if (every) return { every: Number(every[1]) };
  throw new LayerfoldError("POOLING_UNKNOWN", "unknown pooling", {
    wanted: "last, mean, all or every:k with a whole number k ≥ 1",
    got: text,
  });
}

/** The text that `parsePooling` reads back. */
export function poolingName(pooling: Pooling): string {
  return typeof pooling === "string" ? pooling : `every:${pooling.every}`;
}
