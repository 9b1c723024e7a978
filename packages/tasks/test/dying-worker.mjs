// A worker whose process is killed by the task that it runs: `node dying-worker.mjs --store STORE`.
import { defineTask, folderStore, jsonCodec, localExecutor, work } from "@layerfold/tasks";

const dying = defineTask({
  kind: "dying",
  code: "1",
  codec: jsonCodec(),
  run: async () => process.kill(process.pid, "SIGKILL"),
});
process.once("disconnect", () => process.exit());
const kinds = { factory: () => dying, outside: () => undefined };
await work(await folderStore(process.argv[3]), { kinds, executor: localExecutor() }, { engine: {} });
