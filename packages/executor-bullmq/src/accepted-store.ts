import { realpath, stat } from "node:fs/promises";
import { isAbsolute, resolve } from "node:path";
import { isFolderStore } from "@layerfold/tasks";

/**
 * Why a worker does not work in the store that a job names, where it does not. A job must not make it open any path it likes: it works in stores that
 * it was told of, else in folders that are stores already and belong to the user whose process it is; and it makes none.
 * @param told - locations
 */
export async function refusalOfStore(
  location: string,
  told: readonly string[] | undefined,
): Promise<string | undefined> {
  if (!isFolder(location)) {
    return told?.includes(location)
      ? undefined
      : `this worker must be told of the store ${location}: --store`;
  }
  if (!isAbsolute(location)) return `${location} is no path of a store`;
  const found = await stat(location).catch(() => undefined);
  if (!found || !(await isFolderStore(location))) return `no store stands at ${location} on this machine`;
  if (told) {
    const real = await realpath(location);
    const reals = await Promise.all(told.map((one) => realpath(resolve(one)).catch(() => undefined)));
    return reals.includes(real) ? undefined : `this worker was not told of the store ${location}`;
  }
  const user = process.getuid?.();
  if (user === undefined || found.uid !== user) {
    return `the store ${location} is not this user's, and the worker was not told of it: --store`;
  }
  return undefined;
}

const isFolder = (location: string) => !/^[a-z0-9]+:\/\//i.test(location);
