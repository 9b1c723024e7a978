/**
 * The magnitude below which a share of a tensor's values lies.
 * @param share - 0 (nothing lies below: 0) … 1 (everything: infinity)
 */
export function magnitudeBound(values: Float32Array, share: number): number {
  const magnitudes = values.map(Math.abs).sort();
  const below = Math.round(share * magnitudes.length);
  return below >= magnitudes.length ? Number.POSITIVE_INFINITY : below === 0 ? 0 : magnitudes[below];
}

/** What each later layer's tensor differs from the first one's by. */
export function differencesFromFirst([first, ...later]: readonly Float32Array[]): Float32Array[] {
  return later.map((value) => value.map((x, i) => x - first[i]));
}
