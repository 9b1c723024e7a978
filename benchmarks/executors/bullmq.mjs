// Workers on a queue: a Redis server of the benchmark's own, and as many `layerfold work --queue` as are wanted.
import { execFileSync, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { createJiti } from "jiti";
import { openPool, workQueue } from "../../packages/executor-bullmq/dist/index.js";
import { workerExecutor } from "../../packages/tasks/dist/index.js";

const layerfold = new URL("../../packages/cli/bin/layerfold.js", import.meta.url).pathname;
const testServer = new URL("../../packages/executor-bullmq/test/redis-server.ts", import.meta.url).pathname;

export async function bullmq({ workers }) {
  const { redisServer, noServer } = await createJiti(import.meta.url).import(testServer);
  if (noServer !== undefined) throw new Error(noServer);
  const server = await redisServer();
  const listeners = new Set();
  const start = () => {
    const args = [layerfold, "work", "--queue", server.url, "--quiet"];
    listeners.add(spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] }));
  };
  const stopped = new AbortController();
  let trivial = [];
  return {
    flags: ["--executor", "bullmq", "--queue", server.url, "--workers", `${2 * workers}`],
    version: execFileSync("redis-server", ["--version"], { encoding: "utf8" }).split(" sha")[0],
    begin() {
      for (let index = 0; index < workers; index++) start();
    },
    /** A worker is killed, with the process that makes its task; the server too, and forgets all. */
    async disturb() {
      const [one] = listeners;
      listeners.delete(one);
      one.kill("SIGKILL");
      start();
      await server.stop();
      await sleep(1000);
      await server.start();
    },
    async end() {
      for (const one of listeners) one.kill("SIGTERM");
      listeners.clear();
    },
    async open() {
      const program = new URL("./trivial-process.mjs", import.meta.url);
      trivial = Array.from({ length: workers }, () =>
        workQueue({ queue: server.url, program }, { signal: stopped.signal }).catch(() => undefined),
      );
      return workerExecutor(await openPool({ queue: server.url, workers, command: () => ["false"] }));
    },
    async stop() {
      stopped.abort();
      await Promise.all(trivial);
      await server.remove();
    },
  };
}
