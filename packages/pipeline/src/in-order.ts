/**
 * Does pieces of work side by side, and gives their results in their order. One that is asked for alone begins once the one before it is taken.
 * @param width - pieces at a time
 * @throws the first error, once what was begun has ended
 */
export async function* inOrder<T>(
  pieces: Iterable<() => Promise<T>>,
  width: number,
): AsyncGenerator<T, void> {
  const begun: Promise<T>[] = [];
  const waiting = pieces[Symbol.iterator]();
  const begin = () => {
    const { done, value } = waiting.next();
    if (done) return;
    const result = value();
    // Looked at in its turn.
    result.catch(() => undefined);
    begun.push(result);
  };
  try {
    for (let i = 0; i < width; i++) begin();
    while (begun.length > 0) {
      yield await begun[0];
      begun.shift();
      begin();
    }
  } finally {
    await Promise.allSettled(begun);
  }
}

/** The same, gathered. */
export async function allInOrder<T>(pieces: Iterable<() => Promise<T>>, width: number): Promise<T[]> {
  const found: T[] = [];
  for await (const one of inOrder(pieces, width)) found.push(one);
  return found;
}
