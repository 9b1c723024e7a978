/** The first value that is given, which there must be; the rest is not asked for. */
export async function firstOf<T>(values: AsyncIterable<T>): Promise<T> {
  for await (const value of values) return value;
  throw new RangeError("there is no first value");
}
