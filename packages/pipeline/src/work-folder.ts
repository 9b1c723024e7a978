import { isLayerfoldError } from "@layerfold/core";
import { realPath, scratchFolder } from "@layerfold/disk";
import { type OpenedStore, openFolderStore } from "@layerfold/tasks";
import type { Run } from "./run.js";
import { type TaskRunner, taskRunner } from "./task-runner.js";
import { enterStoreAt, localFolderOf } from "./workers/open-store.js";

/**
 * Does work whose tasks are kept in a store: the run's own (`store`), else `OUT.work`, else one for temporary files. `OUT.work` goes once all
 * is done, unless another process is still at work in it; after an error it stays, and the same work finds in it what was finished.
 *
 * @param out - what the work leaves; absent: nothing is kept
 * @param options.quiet - the tasks themselves are not heard
 * @throws what `work` throws; STORE_FOREIGN where something else stands in the folder's place
 */
export async function withTasks<T>(
  out: string | undefined,
  run: Run,
  work: (tasks: TaskRunner, folder: string) => Promise<T>,
  { quiet = false }: { readonly quiet?: boolean } = {},
): Promise<T> {
  const place = await workFolder(out, run);
  const opened =
    place === undefined
      ? await openFolderStore(await scratchFolder("layerfold-work"))
      : await openStore(run.store ?? place, run);
  const { folder } = opened;
  const { location } = opened.store;
  const runner = taskRunner(opened, run.executor, quiet ? { ...run.ctx, report: undefined } : run.ctx);
  let done = false;
  try {
    const result = await work(runner, folder);
    done = true;
    return result;
  } catch (error) {
    const finished = runner.counts.made + runner.counts.found;
    if (place !== undefined && finished > 0) {
      run.ctx.report?.({
        type: "status",
        message: `What is finished lies in ${location} (${finished} tasks); the same command goes on from there, \`layerfold clean ${location}\` frees it.`,
      });
    }
    throw error;
  } finally {
    await run.executor.close?.();
    // A folder of the user's own choice is his.
    const ours = run.store === undefined;
    const spent = ours && done && !run.keepWork;
    const left = await opened.leave({
      remove: place === undefined || spent || (ours && (await opened.isEmpty())),
    });
    if (spent && left === "foreign") {
      run.ctx.report?.({
        type: "diagnostic",
        severity: "warning",
        code: "WORK_KEPT",
        message: `${folder} holds what layerfold did not write, and stays`,
      });
    }
  }
}

/**
 * Where a run keeps what must lie on a disk of this machine: in the store of its own choice, or beside what it writes; nowhere where it writes
 * nothing.
 */
export async function workFolder(
  out: string | undefined,
  { store }: Pick<Run, "store">,
): Promise<string | undefined> {
  if (store !== undefined) return localFolderOf(store);
  return out === undefined ? undefined : `${await realPath(out)}.work`;
}

/** Where a folder of another version lies in the way, the next name is taken: nothing of its is touched. */
async function openStore(location: string, run: Run, attempt = 1): Promise<OpenedStore> {
  const path = attempt === 1 ? location : `${location}-${attempt}`;
  try {
    return await enterStoreAt(path, { signal: run.ctx.signal });
  } catch (error) {
    if (!isLayerfoldError(error, "STORE_OTHER_VERSION") || attempt >= 100) throw error;
    run.ctx.report?.({
      type: "diagnostic",
      severity: "warning",
      code: "STORE_OTHER_VERSION",
      message: `${path} is of another version of layerfold and stays as it is: work begins anew in ${location}-${attempt + 1}`,
    });
    return openStore(location, run, attempt + 1);
  }
}
