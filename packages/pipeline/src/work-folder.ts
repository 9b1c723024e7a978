import { readdir, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { isLayerfoldError, LayerfoldError } from "@layerfold/core";
import { fileError, scratchFolder } from "@layerfold/disk";
import { folderStore, type TaskStore } from "@layerfold/tasks";
import type { Run } from "./run.js";
import { type TaskRunner, taskRunner } from "./task-runner.js";

/**
 * Does work whose tasks are kept in a folder: the run's own (`work`), else `OUT.work`, else one for temporary files. `OUT.work` goes once all
 * is done; after an error it stays, and the same work finds in it what was finished.
 *
 * @param out - what the work leaves; absent: nothing is kept
 * @param options.quiet - the tasks themselves are not heard
 */
export async function withTasks<T>(
  out: string | undefined,
  run: Run,
  work: (tasks: TaskRunner, folder: string) => Promise<T>,
  { quiet = false }: { readonly quiet?: boolean } = {},
): Promise<T> {
  const shared = run.work;
  const temporary = shared === undefined && out === undefined;
  const { folder, store } = temporary
    ? await newStore(await scratchFolder("layerfold-work"))
    : await openStore(resolve(shared ?? `${out}.work`), run);
  const runner = taskRunner(store, run.executor, quiet ? { ...run.ctx, report: undefined } : run.ctx);
  let done = false;
  try {
    const result = await work(runner, folder);
    done = true;
    return result;
  } catch (error) {
    if (!temporary) {
      run.ctx.report?.({
        type: "status",
        message: `What is finished lies in ${folder} (${runner.counts.made + runner.counts.found} tasks); the same command goes on from there, \`layerfold clean ${folder}\` frees it.`,
      });
    }
    throw error;
  } finally {
    await run.executor.close?.();
    if (temporary || (done && shared === undefined && !run.keepWork)) await removeStore(folder);
  }
}

async function newStore(folder: string): Promise<{ folder: string; store: TaskStore }> {
  return { folder, store: await folderStore(folder) };
}

/** Where a folder of another version lies in the way, the next name is taken: nothing of its is touched. */
async function openStore(
  folder: string,
  run: Run,
  attempt = 1,
): Promise<{ folder: string; store: TaskStore }> {
  const path = attempt === 1 ? folder : `${folder}-${attempt}`;
  try {
    return await newStore(path);
  } catch (error) {
    if (!isLayerfoldError(error, "STORE_OTHER_VERSION") || attempt >= 100) throw error;
    run.ctx.report?.({
      type: "diagnostic",
      severity: "warning",
      code: "STORE_OTHER_VERSION",
      message: `${path} is of another version of layerfold and stays as it is: work begins anew in ${folder}-${attempt + 1}`,
    });
    return openStore(folder, run, attempt + 1);
  }
}

/**
 * Removes a folder of finished work, and nothing else.
 * @throws FILE_MISSING, STORE_FOREIGN where it is none, STORE_IN_USE while a task is being made in it
 */
export async function removeStore(
  folder: string,
): Promise<{ readonly tasks: number; readonly bytes: number }> {
  await stat(folder).catch((error) => {
    throw fileError(error, folder);
  });
  const store = await folderStore(folder);
  const leases = await readdir(join(folder, "leases")).catch(() => []);
  const [digest] = leases.map((name) => name.slice(0, name.lastIndexOf(".")));
  // A lease that can be had is a dead process's.
  const lease = digest === undefined ? undefined : await store.lease(digest);
  if (digest !== undefined && !lease) {
    throw new LayerfoldError("STORE_IN_USE", "another process is at work there", {
      where: folder,
      fault: "environment",
    });
  }
  let [tasks, bytes] = [0, 0];
  for await (const { files } of store.list()) {
    tasks++;
    for (const file of Object.values(files)) bytes += file.bytes;
  }
  await lease?.release();
  await rm(folder, { recursive: true, force: true });
  return { tasks, bytes };
}
