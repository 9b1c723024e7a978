import { createHash } from "node:crypto";
import { copyFile, link, mkdir, readdir, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isLayerfoldError, LayerfoldError, throwIfAborted } from "@layerfold/core";
import {
  addMadeFile,
  checkOutputFolder,
  fileError,
  makeFolder,
  nearestFolder,
  type OutputRules,
  putFolder,
  realPath,
  temporaryBeside,
  writeWholeFile,
} from "@layerfold/disk";
import type { Lease, TaskStore } from "@layerfold/tasks";
import { fileFingerprint } from "../manifest.js";
import type { Run } from "../run.js";
import { workFolder } from "../work-folder.js";

export interface PutOptions {
  readonly force?: boolean | undefined;
  /** Where the tasks lie. */
  readonly folder: string;
  /** The same, open. */
  readonly store: Pick<TaskStore, "lease">;
}

/**
 * `checkOutputFolder` for what `putResult` will write. Where an earlier run had put its result in place, but was killed before it was done, the
 * same result may stand there: whether it is the same is seen once it is made again.
 */
export async function checkResultFolder(
  out: string,
  rules: OutputRules,
  run: Pick<Run, "store">,
): Promise<string> {
  try {
    return await checkOutputFolder(out, rules);
  } catch (error) {
    if (!isLayerfoldError(error, "OUTPUT_EXISTS")) throw error;
    const target = await realPath(out);
    const { mark } = placesIn((await workFolder(out, run))!, target);
    if (!(await stat(mark).catch(() => undefined))) throw error;
    return target;
  }
}

/**
 * Makes a result in the work folder and puts it in its place, whole. Where that fails (a mount point, a missing right) the result stays, and the
 * error says where it lies. Where another process, at work at the same, has just put the same result there, that one stays.
 *
 * @param fill - writes into the folder that it is given
 * @throws what `fill` and `putFolder` throw
 */
export async function putResult(
  out: string,
  { force, folder, store }: PutOptions,
  { ctx }: Pick<Run, "ctx">,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  const target = await realPath(out);
  const { finished, mark, name } = placesIn(folder, target);
  const lease = await waitFor(store, name, ctx.signal);
  try {
    await rm(finished, { recursive: true, force: true });
    await makeFolder(finished);
    await fill(finished);
    await writeWholeFile(mark, `${JSON.stringify({ out: target })}\n`);
    await put(out, finished, force).catch((error) => {
      if (!isLayerfoldError(error)) throw error;
      const { code, reason, wanted, got, where, fault } = error;
      throw new LayerfoldError(
        code,
        `${reason}; the finished result lies in ${finished}, and \`mv ${finished} PLACE\` puts it elsewhere`,
        { wanted, got, where, fault, cause: error },
      );
    });
    await rm(mark);
  } catch (error) {
    throw fileError(error, out);
  } finally {
    await lease.release();
  }
}

/**
 * Writes files into a folder that holds others too, each whole and listed as ours, one process at a time.
 * @throws OUTPUT_EXISTS where a file of such a name stands there that is not ours; `fileError`'s codes
 */
export async function addResultFiles(
  out: string,
  { folder, store }: Omit<PutOptions, "force">,
  { ctx }: Pick<Run, "ctx">,
  files: ReadonlyMap<string, string>,
): Promise<void> {
  const { name } = placesIn(folder, await realPath(out));
  const lease = await waitFor(store, name, ctx.signal);
  try {
    for (const [file, text] of files) await addMadeFile(out, file, text);
  } finally {
    await lease.release();
  }
}

/** Where the result for a folder is made, what tells that it is about to be in its place, and who may do so. */
function placesIn(folder: string, target: string) {
  const name = `result-${createHash("sha256").update(target).digest("hex").slice(0, 16)}`;
  const finished = join(folder, "results", name, basename(target));
  return { name, finished, mark: join(folder, "results", `${name}.json`) };
}

async function waitFor(
  store: PutOptions["store"],
  name: string,
  signal: AbortSignal | undefined,
): Promise<Lease> {
  for (;;) {
    throwIfAborted(signal);
    const lease = await store.lease(name);
    if (lease) return lease;
    await sleep(100);
  }
}

async function put(out: string, finished: string, force: boolean | undefined): Promise<void> {
  const target = await realPath(out);
  // A work folder of one's own choice may lie on another disk.
  const [here, there] = [await stat(finished), await stat(await nearestFolder(dirname(target)))];
  const moved = here.dev === there.dev ? finished : temporaryBeside(target);
  try {
    if (moved !== finished) await copyTree(finished, moved);
    await putFolder(out, moved, { ...(force !== undefined && { force }) });
  } catch (error) {
    const same =
      isLayerfoldError(error, "OUTPUT_EXISTS") &&
      (await fileFingerprint(target)) === (await fileFingerprint(moved));
    if (!same) throw error;
  } finally {
    if (moved !== finished) await rm(moved, { recursive: true, force: true });
  }
  await rm(dirname(finished), { recursive: true, force: true });
}

/** Links a folder's files, or where that cannot be copies them: what is linked stays in the store, and is not there twice. */
export async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyTree(source, target);
    else await link(source, target).catch(() => copyFile(source, target));
  }
}
