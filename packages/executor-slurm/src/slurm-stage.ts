import { mkdir, readFile } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import { isLayerfoldError, LayerfoldError, throwIfAborted } from "@layerfold/core";
import { fileError } from "@layerfold/disk";
import {
  type BegunStage,
  isTask,
  type PoolContext,
  readFailure,
  type Stage,
  type TaskStore,
} from "@layerfold/tasks";
import { indexExpression, type JobArray, jobArrays, levelsOf } from "./job-arrays.js";
import { jobScript } from "./job-script.js";
import { cancelJobs, hasEnded, submit } from "./slurm-commands.js";
import type { SlurmOptions } from "./slurm-options.js";
import type { Cluster } from "./slurm-pool.js";

/** The element of a job array that is to make a rank's task. */
interface Element {
  readonly job: string;
  readonly index: number;
  /** By `performance.now()`. */
  readonly submittedAt: number;
  /** It was found ended without a result at this look; a file system may be late with what it left. */
  endedAt?: number;
  readonly log: string;
}

/** A rank of which nothing is settled yet. */
interface Open {
  element: Element;
  /** Jobs that ended without a result although all that it reads was there. */
  deaths: number;
  /** Its job went because one before it failed: it is submitted once what it reads stands. */
  waits: boolean;
}

/** Jobs of one task that may end with neither its result nor an error that it left. */
const mostDeaths = 3;

/**
 * Submits a stage: a job array for each level of it, which waits for the one before.
 * @throws SLURM_MISSING, SLURM_REFUSED; what was submitted by then is cancelled
 */
export async function slurmStage(
  cluster: Cluster,
  stage: Stage,
  store: TaskStore,
  ctx: PoolContext,
): Promise<BegunStage> {
  const { options } = cluster;
  const logs = logFolder(options, store);
  const open = new Map<number, Open>();
  const own: string[] = [];
  let seen = Number.NEGATIVE_INFINITY;
  let silent = false;

  const put = async (array: JobArray, after: readonly string[]): Promise<string> => {
    const log = (index: string) =>
      join(logs, `${stage.id}-${array.offset === 0 ? "" : `${array.offset}+`}${index}.log`);
    const args = [
      `--job-name=layerfold-${stage.id}`,
      `--array=${indexExpression(array.indices, cluster.workers)}`,
      // Of the folder's own name, % is no pattern.
      `--output=${log("\0").replaceAll("%", "%%").replace("\0", "%a")}`,
      "--open-mode=append",
      ...sbatchArguments(options),
      ...(after.length > 0 ? [`--dependency=afterok:${after.join(":")}`, "--kill-on-invalid-dep=yes"] : []),
    ];
    const script = jobScript({
      stage: stage.id,
      array,
      location: store.location,
      command: cluster.command(),
      options,
    });
    const submittedAt = performance.now();
    const job = await submit(args, script);
    own.push(job);
    cluster.jobs.add(job);
    for (const index of array.indices) {
      const element = { job, index, submittedAt, log: log(`${index}`) };
      const rank = array.offset + index;
      const before = open.get(rank);
      open.set(rank, { deaths: before?.deaths ?? 0, waits: false, element });
    }
    return job;
  };

  const begin = async () => {
    await mkdir(logs, { recursive: true }).catch((error) => {
      throw fileError(error, logs);
    });
    const most = await cluster.maxArraySize();
    let before: string[] = [];
    for (const ranks of levelsOf(stage)) {
      const jobs: string[] = [];
      for (const array of jobArrays(ranks, most)) {
        throwIfAborted(ctx.signal);
        jobs.push(await put(array, before));
      }
      before = jobs;
    }
  };

  const settled = async (rank: number): Promise<boolean> => {
    const task = stage.tasks[rank];
    return (await store.has(task)) || (await readFailure(task, store))?.final === true;
  };

  /** Whether all that it reads of this stage stands. */
  const ready = async (rank: number): Promise<boolean> => {
    for (const input of Object.values(stage.tasks[rank].inputs)) {
      if (input && isTask(input) && !(await store.has(input))) return false;
    }
    return true;
  };

  /** Finds the ranks that no job will make any more. @throws WORKER_LOST */
  const check = async () => {
    const look = await cluster.look().catch((error) => {
      // A controller that restarts answers again, and the jobs go on meanwhile.
      if (!silent)
        ctx.report?.(warning("SLURM_SILENT", `the cluster does not answer; jobs go on: ${error.message}`));
      silent = true;
    });
    if (!look || look.at <= seen) return;
    seen = look.at;
    silent = false;
    const lost: number[] = [];
    const states = new Set<string>();
    for (const [rank, one] of open) {
      const { element } = one;
      if (one.waits) {
        if (!(await ready(rank))) continue;
        if (await settled(rank)) {
          open.delete(rank);
          continue;
        }
      } else {
        if (element.submittedAt >= look.at) continue;
        const state = look.queue.get(`${element.job}_${element.index}`);
        if (!hasEnded(state)) continue;
        if (await settled(rank)) {
          open.delete(rank);
          continue;
        }
        if (element.endedAt === undefined) {
          element.endedAt = look.at;
          continue;
        }
        if (await ready(rank)) {
          if (++one.deaths >= mostDeaths) throw await lostWorker(stage.tasks[rank].kind, one, state);
          states.add(state ?? "no longer known");
        } else {
          one.waits = true;
          continue;
        }
      }
      lost.push(rank);
    }
    if (lost.length === 0) return;
    throwIfAborted(ctx.signal);
    if (states.size > 0) {
      const reason = [...states].join(", ");
      const message = `${lost.length === 1 ? "a job" : `${lost.length} jobs`} of stage ${stage.id} ended without a result (${reason}): submitted again`;
      ctx.report?.(warning("SLURM_RESUBMITTED", message));
    }
    const most = await cluster.maxArraySize();
    for (const array of jobArrays(
      lost.sort((a, b) => a - b),
      most,
    ))
      await put(array, []);
  };

  const forget = () => {
    for (const job of own) cluster.jobs.delete(job);
  };
  const orTakeBack = async (work: Promise<void>) => {
    await work.catch(async (error) => {
      const cancelled = await cancelJobs(own, "all");
      throw isLayerfoldError(error, "SLURM_REFUSED") ? withJobs(error, own, cancelled) : error;
    });
  };
  await orTakeBack(begin());
  return {
    check: () => orTakeBack(check()),
    async cancel() {
      // What could not be cancelled is tried once more when the pool is closed.
      if (await cancelJobs(own, "all")) forget();
    },
    async end() {
      // Another process may have made what still waits here.
      await cancelJobs(own, "waiting");
      forget();
    },
  };
}

function sbatchArguments(options: SlurmOptions): string[] {
  const { partition, account, time, memory, cpus, requeues, warning } = options;
  return [
    ...(partition === undefined ? [] : [`--partition=${partition}`]),
    ...(account === undefined ? [] : [`--account=${account}`]),
    ...(time === undefined ? [] : [`--time=${time}`]),
    ...(memory === undefined ? [] : [`--mem=${memory}`]),
    `--cpus-per-task=${cpus}`,
    ...(requeues > 0 ? ["--requeue", `--signal=B:USR1@${warning}`] : ["--no-requeue"]),
    ...options.arguments,
  ];
}

/** @throws OPTION_INVALID */
function logFolder({ logs }: SlurmOptions, { location }: TaskStore): string {
  if (logs !== undefined) return resolve(logs);
  if (isAbsolute(location)) return join(location, "logs");
  throw new LayerfoldError("OPTION_INVALID", "this store is no folder in which jobs could log", {
    wanted: "--set executor.logs=FOLDER",
    where: location,
  });
}

/** Says of a refusal what had been submitted before. */
function withJobs(error: LayerfoldError, jobs: readonly string[], cancelled: boolean): LayerfoldError {
  if (jobs.length === 0) return error;
  const rest = cancelled ? "they are cancelled" : `cancel them with: scancel ${jobs.join(" ")}`;
  return new LayerfoldError(error.code, `${error.reason}; submitted before: ${jobs.join(", ")}; ${rest}`, {
    fault: error.fault,
    cause: error,
  });
}

async function lostWorker(
  kind: string,
  { deaths, element: { job, index, log } }: Open,
  state: string | undefined,
): Promise<LayerfoldError> {
  const said = (await readFile(log, "utf8").catch(() => "")).trim().split("\n").at(-1);
  return new LayerfoldError(
    "WORKER_LOST",
    `${deaths} jobs ended without making a task (${kind}), the last of them ${job}_${index}: ${said}`,
    { got: state ?? "a job that the cluster no longer knows", where: log, fault: "environment" },
  );
}

function warning(code: string, message: string) {
  return { type: "diagnostic", severity: "warning", code, message } as const;
}
