/** Each of a list beside what a model answered for it. A model whose answers are not wanted to the end is told so. */
export async function* paired<A, B>(
  asked: Iterable<A> | AsyncIterable<A>,
  answers: AsyncIterable<B>,
): AsyncGenerator<readonly [A, B]> {
  const iterator = answers[Symbol.asyncIterator]();
  try {
    for await (const one of asked) {
      const { done, value } = await iterator.next();
      if (done) throw new Error("a model gave fewer answers than it was asked for");
      yield [one, value];
    }
  } finally {
    await iterator.return?.();
  }
}
