import { mkdir, opendir, readdir, readFile, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import {
  fileError,
  isTemporaryName,
  makeFolder,
  scratchFolder,
  syncFolder,
  syncTree,
  writeWholeFile,
} from "@layerfold/disk";
import { folderLeases, type LeaseOptions, leaseHolders } from "./lease.js";
import { damageOf, parseRecord, recordFile, recordOf } from "./record.js";
import { checkMark, foreignStore, markFile, markText } from "./store-mark.js";
import type { Artefact, Task } from "./task.js";
import type { ArtefactRecord, Made, Notes, TaskStore } from "./task-store.js";

/**
 * A store in a folder:
 *
 * ```
 * layerfold-store.json         that it is one
 * artefacts/KIND/DIGEST/       artefact.json, and the value: JSON, safetensors or a folder
 * leases/                      who is making what
 * scratch/DIGEST/              what a task is working on, or was when it was killed
 * stages/                      what is to be done, for workers
 * failures/                    what failed there
 * logs/                        what workers said
 * temporary/                   what is being written
 * ```
 *
 * A value is written to a name under `temporary` that no other process can have, synced to disk, and renamed: an artefact that is there is whole.
 *
 * @throws STORE_FOREIGN for a folder that holds something else, STORE_OTHER_VERSION for a store of another layout
 */
export async function folderStore(folder: string, options: LeaseOptions = {}): Promise<TaskStore> {
  const root = resolve(folder);
  await begin(root);
  const leases = folderLeases(join(root, "leases"), options);
  const placeOf = ({ kind, digest }: Pick<Task, "kind" | "digest">) => join(root, "artefacts", kind, digest);

  const temporary = join(root, "temporary");

  /** Takes a folder away under another name first, so that no reader sees half of it go. */
  const discard = async (path: string) => {
    const aside = await scratchFolder("discarded", temporary);
    await rename(path, join(aside, "artefact")).catch(ignoreMissing);
    await rm(aside, { recursive: true, force: true });
  };

  const find: TaskStore["find"] = async (task, report) => {
    const path = placeOf(task);
    const text = await readFile(join(path, recordFile), "utf8").catch(ignoreMissing);
    if (text === undefined) return undefined;
    const damage = await damageOf(path, text, task.digest);
    if (typeof damage !== "string") return artefactOf(task, path, damage);
    // Removed in this moment: that is no damage.
    if (!(await stat(join(path, recordFile)).catch(ignoreMissing))) return undefined;
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "ARTEFACT_DAMAGED",
      message: `${path} no longer has the bytes that were written (${damage}); it is made again`,
    });
    await discard(path);
    return undefined;
  };

  async function* list(): AsyncIterable<ArtefactRecord> {
    const artefacts = join(root, "artefacts");
    for (const kind of await readdir(artefacts).catch(() => [])) {
      for await (const { name } of await opendir(join(artefacts, kind))) {
        const text = await readFile(join(artefacts, kind, name, recordFile), "utf8").catch(ignoreMissing);
        const record = text === undefined ? undefined : parseRecord(text);
        if (record) yield record;
      }
    }
  }

  return {
    location: root,
    logs: join(root, "logs"),
    find,
    has: async (task) => (await stat(join(placeOf(task), recordFile)).catch(ignoreMissing)) !== undefined,
    async put<T>(task: Task<T>, made: Made<T>) {
      const aside = await scratchFolder(task.kind, temporary);
      try {
        const written = join(aside, "artefact");
        await mkdir(written);
        await task.codec.write(made.value, join(written, task.codec.name));
        const record = await recordOf(task, made, written);
        await writeFile(join(written, recordFile), `${JSON.stringify(record, null, 2)}\n`);
        await syncTree(written);
        const place = placeOf(task);
        await makeFolder(dirname(place));
        await rename(written, place).catch((error) => {
          // Another process was quicker.
          if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
        });
        await syncFolder(dirname(place));
        await rm(join(root, "scratch", task.digest), { recursive: true, force: true });
        return artefactOf(task, place, record);
      } catch (error) {
        throw fileError(error, placeOf(task));
      } finally {
        await rm(aside, { recursive: true, force: true });
      }
    },
    lease: (digest) =>
      leases(digest).catch((error) => {
        throw fileError(error, root);
      }),
    holders: () => leaseHolders(join(root, "leases")),
    async scratch({ digest }) {
      const path = join(root, "scratch", digest);
      await makeFolder(path).catch((error) => {
        throw fileError(error, path);
      });
      return path;
    },
    list,
    async localBytes(kinds) {
      let sum = 0;
      for await (const { kind, files } of list()) {
        if (kinds.includes(kind)) for (const { bytes } of Object.values(files)) sum += bytes;
      }
      return sum;
    },
    remove: (record) => discard(placeOf(record)),
    notes: folderNotes(root),
    stands: () => isFolderStore(root),
  };
}

function folderNotes(root: string): Notes {
  return {
    read: (name) => readFile(join(root, name), "utf8").catch(ignoreMissing),
    async write(name, text) {
      const file = join(root, name);
      try {
        // Only the folder itself: a store that somebody removes must not come to life again.
        await mkdir(dirname(file)).catch((error) => {
          if (error.code !== "EEXIST") throw error;
        });
        await writeWholeFile(file, text);
      } catch (error) {
        throw fileError(error, file);
      }
    },
    remove: (name) => rm(join(root, name), { force: true }),
    list: async (folder) =>
      ((await readdir(join(root, folder)).catch(ignoreMissing)) ?? [])
        .filter((name) => !isTemporaryName(name))
        .sort(),
  };
}

const mark = (root: string) => join(root, markFile);

async function isMarked(root: string): Promise<boolean> {
  return (await readFile(mark(root), "utf8").catch(ignoreMissing)) !== undefined;
}

async function begin(root: string): Promise<void> {
  try {
    let foreign: readonly string[] = [];
    // Another process may begin a store here, or remove one, between two looks: what is foreign is so the next time too.
    for (let look = 1; !(await isMarked(root)); look++) {
      await makeFolder(root);
      const names = (await readdir(root)).filter((name) => name !== markFile && !isTemporaryName(name));
      if (await isMarked(root)) break;
      if (names.length === 0) await writeWholeFile(mark(root), markText);
      else if (look > 3 && names.every((name) => foreign.includes(name))) throw foreignStore(root, names);
      foreign = names;
    }
    await checkLayout(root);
    await makeFolder(join(root, "leases"));
  } catch (error) {
    // On a full disk: an empty folder helps nobody, and one that is not empty stays.
    await rmdir(root).catch(() => {});
    throw fileError(error, root);
  }
}

/** Whether a folder is a store, of whatever layout. */
export async function isFolderStore(folder: string): Promise<boolean> {
  return (await stat(mark(folder)).catch(ignoreMissing)) !== undefined;
}

/** @throws STORE_FOREIGN where a folder is no store, STORE_OTHER_VERSION where it is one of another layout */
export async function checkLayout(root: string): Promise<void> {
  const text = await readFile(join(root, markFile), "utf8").catch(ignoreMissing);
  if (text === undefined) throw foreignStore(root, await readdir(root));
  checkMark(text, root);
}

function artefactOf<T>(
  { digest, codec }: Pick<Task<T>, "digest" | "codec">,
  path: string,
  { diagnostics }: Pick<ArtefactRecord, "diagnostics">,
): Artefact<T> {
  const value = join(path, codec.name);
  return { digest, path: value, diagnostics, read: () => codec.read(value) };
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
}
