import type { RunContext } from "@layerfold/core";
import type { Executor, OpenedStore, Task, TaskStore } from "@layerfold/tasks";

export interface TaskCounts {
  readonly made: number;
  readonly found: number;
}

/** Runs tasks in one store by one executor, and counts them. */
export interface TaskRunner {
  /**
   * @param settled - told of every task once it is there, those included that others need
   * @returns the tasks' values, in order; see `Executor.run`
   */
  run<T>(tasks: readonly Task<T>[], settled?: (task: Task) => void): Promise<T[]>;
  /** Lets go of what a task left, unless it is to be kept, or somebody else is at work in the store and may look at it. */
  remove(task: Task): Promise<void>;
  /** What the task left stays, whoever lets go of it. */
  keep(task: Task): void;
  /** Calls of `run` that are worth making side by side. */
  readonly width: number;
  /** Ends what runs side by side with something that failed. */
  stop(): void;
  /** Tasks so far that were made, and that were found done. */
  readonly counts: TaskCounts;
  readonly store: TaskStore;
}

export function taskRunner(
  { store, alone }: Pick<OpenedStore, "store" | "alone">,
  executor: Executor,
  ctx: RunContext,
): TaskRunner {
  const kept = new Set<string>();
  const made = new Set<string>();
  const found = new Set<string>();
  const stopped = new AbortController();
  const signal = ctx.signal ? AbortSignal.any([ctx.signal, stopped.signal]) : stopped.signal;
  return {
    store,
    width: executor.width ?? 1,
    stop: () => stopped.abort(),
    run: (tasks, settled) =>
      executor.run(tasks, store, {
        engine: ctx.engine,
        memory: ctx.memory,
        signal,
        report: ctx.report,
        settled(task, how) {
          const { digest } = task;
          settled?.(task);
          if (how === "made") made.add(digest);
          // What this run has made it will find again: that is no work saved.
          else if (!made.has(digest)) found.add(digest);
        },
      }),
    async remove(task) {
      if (kept.has(task.digest) || !(await alone())) return;
      // Files that are open would still take their space, and on some systems cannot be removed.
      await executor.close?.(task.digest);
      await store.remove(task);
    },
    keep({ digest }) {
      kept.add(digest);
    },
    get counts() {
      return { made: made.size, found: found.size };
    },
  };
}

/** The value of one task. */
export async function runTask<T>(runner: TaskRunner, task: Task<T>): Promise<T> {
  return (await runner.run([task]))[0];
}
