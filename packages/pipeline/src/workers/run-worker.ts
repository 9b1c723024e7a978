import { localExecutor, type WorkCounts, work, workRank } from "@layerfold/tasks";
import { offerPlugin } from "../plugin-reference.js";
import { createRun, type RunOptions } from "../run.js";
import { openStoreAt } from "./open-store.js";
import { pipelineTasks } from "./task-kinds.js";

export interface WorkerRequest {
  /** The store, as whoever asks for work names it. */
  readonly store: string;
  /** Only one task of it: a stage, and the place in it. */
  readonly stage?: string | undefined;
  readonly rank?: number | undefined;
  /** Modules with plug-ins of one's own that tasks may name; the queue and the store bring none. */
  readonly plugins?: readonly string[] | undefined;
  /** Seconds without work after which it ends; default: never. */
  readonly idleSeconds?: number | undefined;
  /** Tries of a task that fails before it is given up; default 3. */
  readonly tries?: number | undefined;
}

/**
 * Makes what the stages of a store ask for, beside any number of other workers on any machines that see it, until it is aborted or the store is gone.
 * @throws TASK_DIFFERS where this is another version of layerfold, PLUGIN_CODE and PLUGIN_ABSENT where a plug-in is not the same here; INPUT_DIFFERS
 * where the model is not; the task's error, of a single rank
 */
export async function runWorker(
  request: WorkerRequest,
  options: Omit<RunOptions, "store" | "executor"> = {},
): Promise<WorkCounts> {
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
