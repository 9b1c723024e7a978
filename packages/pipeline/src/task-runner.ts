import type { RunContext } from "@layerfold/core";
import type { Executor, Task, TaskStore } from "@layerfold/tasks";

/** Runs tasks in one store by one executor, and counts them. */
export interface TaskRunner {
  /** @returns the tasks' values, in order; see `Executor.run` */
  run<T>(tasks: readonly Task<T>[]): Promise<T[]>;
  /** Lets go of what a task left, if nobody needs it any more. */
  remove(task: Task): Promise<void>;
  /** Tasks so far that were made, and that were found done. */
  readonly counts: { readonly made: number; readonly found: number };
  readonly store: TaskStore;
}

export function taskRunner(store: TaskStore, executor: Executor, ctx: RunContext): TaskRunner {
  const made = new Set<string>();
  const found = new Set<string>();
  return {
    store,
    run: (tasks) =>
      executor.run(tasks, store, {
        engine: ctx.engine,
        signal: ctx.signal,
        report: ctx.report,
        settled({ digest }, how) {
          if (how === "made") made.add(digest);
          // What this run has made it will find again: that is no work saved.
          else if (!made.has(digest)) found.add(digest);
        },
      }),
    remove: (task) => store.remove(task),
    get counts() {
      return { made: made.size, found: found.size };
    },
  };
}

/** The value of one task. */
export async function runTask<T>(runner: TaskRunner, task: Task<T>): Promise<T> {
  return (await runner.run([task]))[0];
}
