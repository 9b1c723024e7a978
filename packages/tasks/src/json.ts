import { createHash } from "node:crypto";
import { LayerfoldError } from "@layerfold/core";
import canonicalize from "canonicalize";

/** What JSON can say. A key whose value is undefined is not there. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/**
 * SHA-256, hex, of a JSON value in its canonical form (RFC 8785): the order of keys and the spelling of numbers do not matter.
 * @param where - named when the value is none
 * @throws JSON_INVALID for NaN, Infinity, bigints and cycles
 */
export function jsonDigest(value: Json, where = "value"): string {
  let canonical: string | undefined;
  try {
    canonical = canonicalize(value);
  } catch (cause) {
    throw new LayerfoldError("JSON_INVALID", "this cannot be said in JSON", {
      got: (cause as Error).message,
      where,
      cause,
    });
  }
  if (canonical === undefined) throw new LayerfoldError("JSON_INVALID", "nothing to say in JSON", { where });
  return createHash("sha256").update(canonical).digest("hex");
}
