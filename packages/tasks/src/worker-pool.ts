import type { RunContext } from "@layerfold/core";
import type { Stage } from "./stage.js";
import type { TaskStore } from "./task-store.js";

/** Processes that make the tasks of a stage, here or on other machines: Slurm's, those of a queue, or children of this one. */
export interface WorkerPool {
  /** Tasks that may run at a time; as many are asked for side by side. */
  readonly width: number;
  /**
   * Sets workers to a stage that stands in the store. What they make is found there, and so is what failed.
   * @throws where they cannot be had
   */
  begin(stage: Stage, store: TaskStore, ctx: PoolContext): Promise<BegunStage>;
  /** Lets go of the workers. */
  close(): Promise<void>;
}

export interface PoolContext extends Pick<RunContext, "signal" | "report" | "memory"> {
  /**
   * To be called once something may have changed; the store is looked at now and then all the same.
   * @param digest - of the task that is settled, where one knows: then only that is looked at
   */
  changed(digest?: string): void;
}

/** A stage that workers are at. */
export interface BegunStage {
  /** Looks after them: called again and again while the stage is not done. @throws where nobody will make what is missing */
  check?(): Promise<void>;
  /** Tells them to begin nothing more of it: it is given up. */
  cancel(): Promise<void>;
  /** All of it is settled. What workers have not begun of it need not be begun; what they are finishing is left alone. */
  end?(): Promise<void>;
}
