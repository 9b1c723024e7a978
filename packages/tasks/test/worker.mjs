// A process that runs one task in a store: `node worker.mjs STORE LOG MILLISECONDS`.
import { appendFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { defineTask, folderStore, jsonCodec, localExecutor } from "@layerfold/tasks";

const [folder, log, milliseconds] = process.argv.slice(2);
const slow = defineTask({
  kind: "slow",
  code: "1",
  codec: jsonCodec(),
  run: async () => {
    await appendFile(log, "run\n");
    await sleep(Number(milliseconds));
    return 42;
  },
});
let how;
const ctx = { engine: {}, settled: (_, settled) => (how = settled) };
const [value] = await localExecutor().run([slow({})], await folderStore(folder), ctx);
console.log(`${how} ${value}`);
