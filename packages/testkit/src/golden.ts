import { readFile } from "node:fs/promises";

/**
 * Reads a golden file: JSON made by a named reference implementation.
 *
 * @param url - e.g. `new URL("../test/golden/similarity.json", import.meta.url)`
 * @returns the parsed file, taken at its word to be a `T`
 */
export async function readGolden<T>(url: URL): Promise<T> {
  return JSON.parse(await readFile(url, "utf8")) as T;
}
