import type { RunContext } from "@layerfold/core";
import type { Task } from "./task.js";
import type { TaskStore } from "./task-store.js";

/** Decides where tasks run. */
export interface Executor {
  /** Heavy tasks that may run at a time: as many are worth asking for side by side. Default 1. */
  readonly width?: number;
  /**
   * Runs tasks and what they depend on, each once, those that the store has not at all.
   * @returns their values, in order
   * @throws the first error of a task; what others finish meanwhile is kept
   */
  run<T>(tasks: readonly Task<T>[], store: TaskStore, ctx: ExecutionContext): Promise<T[]>;
  /**
   * Lets go of what no running task uses: all of it, once nothing runs. It can run tasks again.
   * @param digest - of an artefact that is about to go: what tasks share by a key with this digest in it, and no more
   */
  close?(digest?: string): Promise<void>;
}

/** What tasks are run with. */
export interface ExecutionContext extends Pick<RunContext, "engine" | "memory" | "signal" | "report"> {
  /** Told of every task once it is there. */
  readonly settled?: (task: Task, how: "made" | "found") => void;
  /**
   * Where another process is at a task: wait for what it makes (default), leave it with TASK_BUSY, or join it, and do the same beside it until it is
   * done.
   */
  readonly whenBusy?: "wait" | "leave" | "join";
  /** Whether tasks may be shared with processes that join. */
  readonly joint?: boolean;
  /** Processes that may have died of a task before it is refused with TASK_DEADLY; default: any number. */
  readonly mostDeaths?: number | undefined;
}
