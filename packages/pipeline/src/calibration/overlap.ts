/** Tokens that must follow one another alike to be called the same text; single phrases recur in any two texts of a kind. */
const windowTokens = 48;
/** A judged sequence of fewer tokens than that, such as a question, is the same text as a whole, unless it has fewer than this. */
const wholeTokens = 12;

/**
 * Share of the judged tokens that also stand in what was seen, 0 to 1: every run of 48 tokens of the one is looked for at every place of
 * the other, so that another cutting into windows hides nothing. A sequence shorter than that is looked for as a whole; one of fewer than 12
 * tokens only among the sequences that were seen, since in their midst it would be but a phrase.
 */
export function sharedTokens(
  seen: readonly ArrayLike<number>[],
  judged: readonly ArrayLike<number>[],
): number {
  const windows = judgedWindows(judged);
  for (const ids of seen) for (const { found, hash } of meetings(windows, ids)) found.set(hash, true);
  let shared = 0;
  let total = 0;
  for (const ids of judged) {
    total += ids.length;
    const length = lengthOf(ids);
    let counted = 0;
    let start = 0;
    for (const hash of windowHashes(ids, length)) {
      if (windows.get(length)?.get(hash)) {
        shared += start + length - Math.max(counted, start);
        counted = start + length;
      }
      start++;
    }
  }
  return total === 0 ? 0 : shared / total;
}

/** Those of the seen sequences in which a judged token stands, in the sense of `sharedTokens`. */
export function sharing<Seen extends { readonly ids: ArrayLike<number> }>(
  seen: readonly Seen[],
  judged: readonly ArrayLike<number>[],
): readonly Seen[] {
  const windows = judgedWindows(judged);
  return seen.filter(({ ids }) => !meetings(windows, ids).next().done);
}

const lengthOf = (ids: ArrayLike<number>) => Math.min(windowTokens, ids.length);

/** By length: the hash of every judged window, and whether it was seen. */
type JudgedWindows = ReadonlyMap<number, Map<number, boolean>>;

function judgedWindows(judged: readonly ArrayLike<number>[]): JudgedWindows {
  const windows = new Map(judged.map((ids) => [lengthOf(ids), new Map<number, boolean>()]));
  for (const ids of judged) {
    const length = lengthOf(ids);
    for (const hash of windowHashes(ids, length)) windows.get(length)?.set(hash, false);
  }
  return windows;
}

/** The judged windows that stand in a sequence. */
function* meetings(windows: JudgedWindows, ids: ArrayLike<number>) {
  for (const [length, found] of windows) {
    if (length < wholeTokens && ids.length !== length) continue;
    for (const hash of windowHashes(ids, length)) if (found.has(hash)) yield { found, hash };
  }
}

const bases = [0x01000193, 0x9e3779b1] as const;

/** Hashes, 53 bits, of every window of so many of a sequence's tokens, each from the last one in constant time. */
function* windowHashes(ids: ArrayLike<number>, length: number): Iterable<number> {
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
