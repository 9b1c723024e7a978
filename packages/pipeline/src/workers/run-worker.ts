import { localExecutor, type WorkCounts, work, workRank } from "@layerfold/tasks";
import { offerPlugin } from "../plugin-reference.js";
import { createRun, type RunOptions } from "../run.js";
import { openStoreAt, optionalPackage } from "./open-store.js";
import { pipelineTasks } from "./task-kinds.js";
import type { TaskWorkerRequest } from "./task-worker.js";

export interface WorkerRequest extends TaskWorkerRequest {
  /** The store, as whoever asks for work names it. */
  readonly store: string;
  /** Only one task of it: a stage, and the place in it. */
  readonly stage?: string | undefined;
  readonly rank?: number | undefined;
  /** Seconds without work after which it ends; default: never. */
  readonly idleSeconds?: number | undefined;
}

/** A worker that is told by a queue what to do. */
export interface QueueWorkerRequest extends TaskWorkerRequest {
  /** `redis://HOST:PORT` */
  readonly queue: string;
  /** Stores that it works in; default: folders that are stores already and belong to this process's user. */
  readonly stores?: readonly string[] | undefined;
  /** Tasks at a time, each in a process of its own; default 1. */
  readonly concurrency?: number | undefined;
  /** Seconds without work after which it ends; default: never. */
  readonly idleSeconds?: number | undefined;
  /** Seconds that the queue may be gone; default 300. */
  readonly patience?: number | undefined;
}

/** The door of `@layerfold/executor-bullmq` for workers. */
interface QueuePackage {
  workQueue(
    request: QueueWorkerRequest & { readonly memory: number },
    ctx: Pick<RunOptions, "signal" | "report">,
  ): Promise<WorkCounts>;
}

/**
 * Makes what the stages of a store ask for, or a queue, beside any number of other workers on any machines that see the store, until it is aborted
 * or the store is gone.
 * @throws TASK_DIFFERS where this is another version of layerfold, PLUGIN_CODE and PLUGIN_ABSENT where a plug-in is not the same here; INPUT_DIFFERS
 * where the model is not; the task's error, of a single rank; of a queue PACKAGE_MISSING, QUEUE_UNREACHABLE, QUEUE_LOST
 */
export async function runWorker(
  request: WorkerRequest | QueueWorkerRequest,
  options: Omit<RunOptions, "store" | "executor"> = {},
): Promise<WorkCounts> {
  if ("queue" in request) {
    const { workQueue } = await optionalPackage<QueuePackage>("@layerfold/executor-bullmq");
    return workQueue({ ...request, memory: createRun(options).memory }, options);
  }
  for (const path of request.plugins ?? []) await offerPlugin(path);
  const { ctx, memory } = createRun(options);
  const store = await openStoreAt(request.store, { signal: ctx.signal });
  const executor = localExecutor({ idleBytes: memory / 4 });
  const { tries, stage, rank, idleSeconds } = request;
  const given = { kinds: pipelineTasks(), executor, tries };
  try {
    if (stage !== undefined && rank !== undefined) {
      const outcome = await workRank(store, { id: stage, rank }, given, ctx);
      return { made: outcome === "made" ? 1 : 0, failed: 0 };
    }
    return await work(store, { ...given, idleSeconds }, ctx);
  } finally {
    await executor.close();
  }
}
