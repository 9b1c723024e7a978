// Makes the trivial tasks of executors.mjs for workers of a queue.
import { serveTasks } from "../../packages/executor-bullmq/dist/index.js";
import {
  attempt,
  defineTask,
  folderStore,
  jsonCodec,
  localExecutor,
  stageReader,
} from "../../packages/tasks/dist/index.js";

const trivial = defineTask({
  kind: "trivial",
  code: "1",
  codec: jsonCodec(),
  run: async ({ number }) => 2 * number,
});
const kinds = { factory: () => trivial };
const executor = localExecutor();
let opened;
serveTasks(
  Promise.resolve({
    async attempt({ store: location, stage, rank }, { signal }) {
      opened ??= folderStore(location).then((store) => ({ store, stages: stageReader(store, kinds) }));
      const { store, stages } = await opened;
      const task = await stages.task(stage, rank);
      return task ? attempt(task, store, { kinds, executor }, { engine: {}, signal }) : "withdrawn";
    },
    rest: async () => {},
  }),
);
