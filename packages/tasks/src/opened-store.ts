import { randomUUID } from "node:crypto";
import { readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LayerfoldError } from "@layerfold/core";
import { fileError, isTemporaryName, temporaryBeside } from "@layerfold/disk";
import { checkLayout, folderStore, foreignStore, markFile } from "./folder-store.js";
import type { LeaseOptions } from "./lease.js";
import type { Lease, TaskStore } from "./task-store.js";

/** A store in a folder, and who is in it: each that opened it holds a lease `run-…` until it leaves. */
export interface OpenedStore {
  readonly store: TaskStore;
  readonly folder: string;
  /** Whether nobody else is in it. */
  alone(): Promise<boolean>;
  /** Whether nothing was finished or begun in it. */
  isEmpty(): Promise<boolean>;
  /**
   * @param options.remove - the folder goes, unless somebody is still in it or it holds what no store does
   * @returns what became of it: it stays where that was not asked for, or for either of these reasons
   */
  leave(options?: { readonly remove?: boolean }): Promise<"stays" | "removed" | "in use" | "foreign">;
}

/** Held while one enters a store or removes it, so that nobody enters what goes. */
const gate = "gate";
const presence = "run-";

/** `folderStore`, such that nobody removes it before one has left it. @throws as that */
export async function openFolderStore(folder: string, options?: LeaseOptions): Promise<OpenedStore> {
  const root = resolve(folder);
  for (;;) {
    const store = await folderStore(root, options);
    const name = `${presence}${randomUUID()}`;
    const own = await store
      .lease(name)
      .catch(ignoreMissing)
      .catch(async (error) => {
        await removeBegun(root);
        throw error;
      });
    // It may have been removed in any of these moments, and be begun anew by another.
    const entered = own && (await holding(store, () => isThere(join(root, "leases", `${name}.1`))));
    if (entered) return opened(store, root, name, own);
    await own?.release().catch(ignoreMissing);
  }
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

function opened(store: TaskStore, folder: string, name: string, own: Lease): OpenedStore {
  return {
    store,
    folder,
    alone: async () => (await holders(store, folder)).every((other) => other === name),
    async isEmpty() {
      for (const part of ["artefacts", "scratch", "results"]) {
        if ((await readdir(join(folder, part)).catch(() => [])).length > 0) return false;
      }
      return true;
    },
    async leave({ remove = false } = {}) {
      await own.release().catch(ignoreMissing);
      if (!remove) return "stays";
      const left = await holding(store, async () => {
        if ((await holders(store, folder)).length > 0) return "in use";
        if ((await foreignNames(folder)).length > 0) return "foreign";
        await removeWhole(folder);
        return "removed";
      });
      // Another was quicker.
      return left ?? "removed";
    },
  };
}

/**
 * Removes a store with all that is in it, and nothing else.
 * @returns what was in it
 * @throws FILE_MISSING, STORE_FOREIGN where it is none or holds what no store does, STORE_OTHER_VERSION, STORE_IN_USE
 */
export async function removeFolderStore(
  folder: string,
): Promise<{ readonly tasks: number; readonly bytes: number }> {
  const root = resolve(folder);
  await stat(root).catch((error) => {
    throw fileError(error, root);
  });
  await checkLayout(root).catch((error) => {
    throw fileError(error, root);
  });
  const store = await folderStore(root);
  let [tasks, bytes] = [0, 0];
  await holding(store, async () => {
    const [holder] = await holders(store, root);
    if (holder !== undefined) {
      throw new LayerfoldError("STORE_IN_USE", "another process is at work there", {
        where: root,
        fault: "environment",
      });
    }
    const foreign = await foreignNames(root);
    if (foreign.length > 0) throw foreignStore(root, foreign);
    for await (const { files } of store.list()) {
      tasks++;
      for (const file of Object.values(files)) bytes += file.bytes;
    }
    await removeWhole(root);
  });
  return { tasks, bytes };
}

/** Does something while holding the gate. @returns nothing where the store is gone */
async function holding<T>(store: TaskStore, work: () => Promise<T>): Promise<T | undefined> {
  for (;;) {
    let lease: Lease | undefined;
    try {
      lease = await store.lease(gate);
    } catch (error) {
      return ignoreMissing(error as { code?: string });
    }
    if (!lease) {
      await sleep(20);
      continue;
    }
    try {
      return await work();
    } finally {
      await lease.release().catch(ignoreMissing);
    }
  }
}

/** What living processes hold in a store: their presence, and tasks that they make. Leases of the dead go. */
async function holders(store: TaskStore, folder: string): Promise<string[]> {
  const names = await readdir(join(folder, "leases"));
  const leases = new Set(
    names.filter((name) => !isTemporaryName(name)).map((name) => name.slice(0, name.lastIndexOf("."))),
  );
  leases.delete(gate);
  const living: string[] = [];
  for (const name of leases) {
    const lease = await store.lease(name);
    if (lease) await lease.release();
    else living.push(name);
  }
  return living;
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

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(ignoreMissing)) !== undefined;
}

function ignoreMissing(error: { readonly code?: string }): undefined {
  if (error.code !== "ENOENT" && error.code !== "FILE_MISSING") throw error;
}
