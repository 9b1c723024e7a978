import { mkdir, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";

/**
 * Where a path leads, symbolic links followed, also to what is not there yet.
 * @throws what the file system says, such as ELOOP and EACCES
 */
export async function realPath(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const link = await readlink(absolute).catch(() => undefined);
  if (link !== undefined) return realPath(resolve(dirname(absolute), link));
  const parent = dirname(absolute);
  return parent === absolute ? absolute : join(await realPath(parent), basename(absolute));
}

/** Whether a real path is the folder or lies in it. */
export function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && resolve(folder, way) === path);
}

/**
 * Makes a folder and those above it. Node's recursive `mkdir` calls a disk that can only be read ENOENT, and never comes to an end where a
 * folder that is there takes no others, such as `/proc`.
 * @throws what the file system says
 */
export async function makeFolder(folder: string): Promise<void> {
  const make = () =>
    mkdir(folder).catch(async (error) => {
      // A disk that can only be read may say so before it says that the folder is there.
      const there = await stat(folder).catch(() => undefined);
      if (!there?.isDirectory()) throw error;
    });
  try {
    await make();
  } catch (error) {
    const parent = dirname(resolve(folder));
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === resolve(folder)) throw error;
    await makeFolder(parent);
    await make();
  }
}
