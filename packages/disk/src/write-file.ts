import { chmod, constants, copyFile, type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileError } from "./file-error.js";
import { makeFolder, realPath } from "./real-path.js";
import { sweepOnce, temporaryBeside } from "./temporary.js";

/** A file's content, or what writes it to the open file. */
export type FileContent = string | Uint8Array | ((file: FileHandle) => Promise<void>);

/**
 * Writes a whole file durably: under a temporary name in its folder, which is made where it is missing; on the disk before it gets its name,
 * and the name on the disk before this returns. A reader sees the old file or the new one, whenever the process or the machine stops. A
 * symbolic link is followed, not replaced. It replaces whatever file stands there: whether it may is the caller's to ask.
 *
 * @throws what `content` throws, and `fileError`'s codes
 */
export async function writeWholeFile(file: string, content: FileContent): Promise<void> {
  await putWholeFile(file, async (temporary) => {
    const handle = await open(temporary, "wx");
    try {
      if (typeof content === "function") await content(handle);
      else await handle.writeFile(content);
      await handle.sync();
      await handle.close();
    } catch (error) {
      await handle.close().catch(() => {});
      throw error;
    }
    return true;
  });
}

/**
 * As `writeWholeFile`, a file that shares another's bytes on the disk, as btrfs, XFS and APFS can: nothing is copied, however large it is.
 *
 * @returns whether it could; where not, nothing was done
 * @throws `fileError`'s codes
 */
export async function cloneWholeFile(from: string, file: string): Promise<boolean> {
  return putWholeFile(file, async (temporary) => {
    // Made first, for the rights of a new file: a clone has those of what it was made from.
    const handle = await open(temporary, "wx");
    const { mode } = await handle.stat().finally(() => handle.close());
    try {
      await copyFile(from, temporary, constants.COPYFILE_FICLONE_FORCE);
    } catch {
      return false;
    }
    await chmod(temporary, mode);
    await syncFile(temporary);
    return true;
  });
}

/** @param make - makes the file under a temporary name, all of it on the disk; false where it did not */
async function putWholeFile(file: string, make: (temporary: string) => Promise<boolean>): Promise<boolean> {
  try {
    const target = await realPath(file);
    const folder = dirname(target);
    await makeFolder(folder);
    await sweepOnce(folder);
    const temporary = temporaryBeside(target);
    let made = false;
    try {
      made = await make(temporary);
      if (made) await rename(temporary, target);
    } catch (error) {
      made = false;
      throw error;
    } finally {
      if (!made) await rm(temporary, { force: true }).catch(() => {});
    }
    if (made) await syncFolder(folder);
    return made;
  } catch (error) {
    throw fileError(error, file);
  }
}

/** Sees to it that a file's bytes are on the disk. */
export async function syncFile(file: string): Promise<void> {
  // Windows asks for the right to write.
  await syncOpened(file, process.platform === "win32" ? "r+" : "r");
}

/** Sees to it that the names in a folder are on the disk: those that were made, moved or removed. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows opens no folders, and keeps their names by itself.
  if (process.platform !== "win32") await syncOpened(folder, "r");
}

/** Both, for a folder with all that is in it. Symbolic links are not followed. */
export async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncFile(path);
  }
  await syncFolder(folder);
}

async function syncOpened(path: string, flags: string): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } catch (error) {
    // Some network disks cannot be told to.
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["EINVAL", "ENOTSUP"].includes(code)) throw error;
  } finally {
    await handle.close();
  }
}
