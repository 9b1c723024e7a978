// A process that makes tiny tasks, as `pipeline-process.ts` makes those of pipelines.
import { serveTasks } from "@layerfold/executor-bullmq";
import * as tasks from "@layerfold/tasks";
import { tinyTasks } from "./tiny-tasks.mjs";

const factories = tinyTasks(tasks);
const kinds = {
  factory: (kind) => (process.env.TINY_LACKS === kind ? undefined : factories[kind]),
  outside: () => Promise.reject(new Error("nothing is from outside")),
};
const executor = tasks.localExecutor();
serveTasks(
  Promise.resolve({
    async attempt({ store: location, stage, rank, digest }, { signal, report }) {
      const store = await tasks.folderStore(location);
      const task = await tasks.stageReader(store, kinds).task(stage, rank);
      if (task?.digest !== digest) return "withdrawn";
      return tasks.attempt(task, store, { kinds, executor }, { engine: {}, signal, report });
    },
    rest: () => executor.close(),
  }),
);
