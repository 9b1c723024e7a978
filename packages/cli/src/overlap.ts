/** Tokens that must follow one another alike to be called the same text; single phrases recur in any two texts of a kind. */
const windowTokens = 48;

/**
 * Share of the judged tokens that also stand in what was seen, 0 to 1: every run of 48 tokens of the one is looked for at every place of
 * the other, so that another cutting into windows hides nothing. A sequence shorter than that counts as a whole.
 */
export function sharedTokens(seen: Iterable<ArrayLike<number>>, judged: Iterable<ArrayLike<number>>): number {
  const known = new Set<number>();
  for (const ids of seen) for (const hash of windowHashes(ids)) known.add(hash);
  let shared = 0;
  let total = 0;
  for (const ids of judged) {
    total += ids.length;
    const length = Math.min(windowTokens, ids.length);
    let counted = 0;
    let start = 0;
    for (const hash of windowHashes(ids)) {
      if (known.has(hash)) {
        shared += start + length - Math.max(counted, start);
        counted = start + length;
      }
      start++;
    }
  }
  return total === 0 ? 0 : shared / total;
}

const bases = [0x01000193, 0x9e3779b1] as const;

/** Hashes, 53 bits, of every window of a sequence, each from the last one in constant time. */
function* windowHashes(ids: ArrayLike<number>): Iterable<number> {
  const length = Math.min(windowTokens, ids.length);
  const leaving = bases.map((base) => {
    let power = 1;
    for (let i = 0; i < length; i++) power = Math.imul(power, base);
    return power;
  });
  let [high, low] = [0, 0];
  for (let i = 0; i < ids.length; i++) {
    const gone = i < length ? 0 : ids[i - length] + 1;
    high = (Math.imul(high, bases[0]) + ids[i] + 1 - Math.imul(gone, leaving[0])) | 0;
    low = (Math.imul(low, bases[1]) + ids[i] + 1 - Math.imul(gone, leaving[1])) | 0;
    if (i >= length - 1) yield (high >>> 0) * 2 ** 21 + (low >>> 11);
  }
}
