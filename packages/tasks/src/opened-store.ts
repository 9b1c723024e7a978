import { readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileError, isTemporaryName, temporaryBeside } from "@layerfold/disk";
import { checkLayout, folderStore } from "./folder-store.js";
import type { LeaseOptions } from "./lease.js";
import {
  enterStore,
  type OpenedStore,
  removeStore,
  type StoreContents,
  type StorePlace,
} from "./presence.js";
import { markFile } from "./store-mark.js";
import type { TaskStore } from "./task-store.js";

/** `folderStore`, such that nobody removes it before one has left it. @throws as that */
export function openFolderStore(folder: string, options?: LeaseOptions): Promise<OpenedStore> {
  return enterStore(async () => placeOf(resolve(folder), await folderStore(folder, options)));
}

/**
 * Removes a store with all that is in it, and nothing else.
 * @returns what was in it
 * @throws FILE_MISSING, STORE_FOREIGN where it is none or holds what no store does, STORE_OTHER_VERSION, STORE_IN_USE
 */
export async function removeFolderStore(folder: string): Promise<StoreContents> {
  const root = resolve(folder);
  return removeStore(placeOf(root, await existingFolderStore(root)));
}

/** `folderStore` of a folder that is one: none is begun. @throws FILE_MISSING, STORE_FOREIGN, STORE_OTHER_VERSION */
export async function existingFolderStore(folder: string): Promise<TaskStore> {
  const root = resolve(folder);
  try {
    await stat(root);
    await checkLayout(root);
  } catch (error) {
    throw fileError(error, root);
  }
  return folderStore(root);
}

function placeOf(root: string, store: TaskStore): StorePlace {
  return {
    store,
    folder: root,
    async leases() {
      const names = (await readdir(join(root, "leases"))).filter((name) => !isTemporaryName(name));
      return [...new Set(names.map((name) => name.slice(0, name.lastIndexOf("."))))];
    },
    async isEmpty() {
      for (const part of ["artefacts", "scratch", "results"]) {
        if ((await readdir(join(root, part)).catch(() => [])).length > 0) return false;
      }
      return true;
    },
    foreign: () => foreignNames(root),
    remove: () => removeWhole(root),
    takeBack: () => removeBegun(root),
  };
}

/** Takes back a store that was begun on a disk with no room for more; one that somebody is in, or that holds anything, stays. */
async function removeBegun(root: string): Promise<void> {
  const names = await readdir(root).catch(() => []);
  if (names.some((name) => name !== markFile && name !== "leases")) return;
  try {
    // Fails where somebody holds a lease.
    await rmdir(join(root, "leases"));
    await rm(join(root, markFile));
    await rmdir(root);
  } catch {
    // It harms nobody.
  }
}

/** What stands in a store that is not the store's. */
async function foreignNames(root: string): Promise<string[]> {
  const foreign: string[] = [];
  for (const name of await readdir(root)) {
    if (!own.test(name) && name !== markFile && !isTemporaryName(name)) foreign.push(name);
  }
  const inside = async (folder: string, pattern: RegExp) => {
    for (const name of await readdir(join(root, folder)).catch(() => [])) {
      if (!pattern.test(name) && !isTemporaryName(name)) foreign.push(`${folder}/${name}`);
    }
  };
  const digests = /^[0-9a-f]{64}$/;
  await inside("scratch", digests);
  await inside("leases", /\.\d+$/);
  await inside("stages", /^[0-9a-f]+\.json$/);
  await inside("failures", /^[0-9a-f]{64}\.json$/);
  await inside("logs", /\.log$/);
  await inside("temporary", /(?!)/);
  for (const kind of await readdir(join(root, "artefacts")).catch(() => []))
    await inside(`artefacts/${kind}`, digests);
  return foreign;
}

const own = /^(artefacts|leases|scratch|temporary|results|stages|failures|logs)$/;

/** Under another name first, so that nobody finds half of it. */
async function removeWhole(folder: string): Promise<void> {
  const gone = temporaryBeside(folder);
  try {
    await rename(folder, gone);
  } catch {
    // A mount point.
    await rm(folder, { recursive: true, force: true });
    return;
  }
  await rm(gone, { recursive: true, force: true });
}
