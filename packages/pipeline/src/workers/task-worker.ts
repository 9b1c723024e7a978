import {
  attempt,
  localExecutor,
  type Outcome,
  type StageReader,
  stageReader,
  type TaskStore,
} from "@layerfold/tasks";
import { offerPlugin } from "../plugin-reference.js";
import { createRun, type RunOptions } from "../run.js";
import { openStoreAt } from "./open-store.js";
import { pipelineTasks } from "./task-kinds.js";

/** Where a task stands that a worker is told of. */
export interface TaskPlace {
  /** The store's location. */
  readonly store: string;
  readonly stage: string;
  /** Its place in the stage. */
  readonly rank: number;
  readonly digest: string;
}

/** Tries tasks as it is told, in any stores. */
export interface TaskWorker {
  /**
   * @returns what became of it; `withdrawn` where its stage, or the store, no longer stands
   * @throws INTERRUPTED; TASK_DIFFERS, TASK_UNKNOWN, INPUT_DIFFERS, PLUGIN_CODE, PLUGIN_ABSENT where this process cannot do what is asked for
   */
  attempt(place: TaskPlace, ctx: Pick<RunOptions, "signal" | "report">): Promise<Outcome | "withdrawn">;
  /** Lets go of what tasks share; it can try tasks again. */
  rest(): Promise<void>;
}

export interface TaskWorkerRequest {
  /** Modules with plug-ins of one's own that tasks may name; the queue and the store bring none. */
  readonly plugins?: readonly string[] | undefined;
  /** Tries of a task that fails before it is given up; default 3. */
  readonly tries?: number | undefined;
}

/** Makes what pipelines ask for. @throws PLUGIN_MODULE */
export async function openTaskWorker(
  { plugins = [], tries }: TaskWorkerRequest,
  options: Pick<RunOptions, "memory"> = {},
): Promise<TaskWorker> {
  for (const path of plugins) await offerPlugin(path);
  const { ctx, memory } = createRun(options);
  const executor = localExecutor({ idleBytes: memory / 4 });
  const kinds = pipelineTasks();
  const opened = new Map<string, { readonly store: TaskStore; readonly stages: StageReader }>();
  return {
    async attempt({ store: location, stage, rank, digest }, { signal, report }) {
      let at = opened.get(location);
      if (!at) {
        const store = await openStoreAt(location);
        at = { store, stages: stageReader(store, kinds) };
        opened.set(location, at);
      }
      const task = await at.stages.task(stage, rank);
      if (task?.digest !== digest) return "withdrawn";
      return attempt(task, at.store, { kinds, executor, tries }, { ...ctx, signal, report });
    },
    rest: () => executor.close(),
  };
}
