import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MatmulEngine } from "@layerfold/core";
import { afterEach, beforeEach, expect, it } from "vitest";
import { jsonCodec } from "./codec.js";
import { folderStore } from "./folder-store.js";
import { localExecutor, workerExecutor } from "./local-executor.js";
import { stageIds, withdrawStage } from "./stage.js";
import { defineTask } from "./task.js";
import type { WorkerPool } from "./worker-pool.js";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-sender-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const square = defineTask({
  ...{ kind: "square", code: "1", codec: jsonCodec<number>() },
  run: async ({ value }: { value: number }) => value * value,
});
const ctx = { engine: {} as MatmulEngine };

it("a stage that another process withdrew stands again, and its workers hear of its end", async () => {
  const told: string[] = [];
  const pool: WorkerPool = {
    width: 1,
    async begin(stage, store) {
      // Another that asked for the same has stopped.
      await withdrawStage(stage, store);
      return {
        async check() {
          const ids = await stageIds(store);
          if (!ids.includes(stage.id)) return;
          told.push("stands");
          await localExecutor().run(stage.tasks, store, ctx);
        },
        cancel: async () => void told.push("cancelled"),
        end: async () => void told.push("ended"),
      };
    },
    close: async () => {},
  };
  const store = await folderStore(root);
  expect(await workerExecutor(pool).run([square({ value: 3 })], store, ctx)).toEqual([9]);
  expect(told).toEqual(["stands", "ended"]);
  expect(await stageIds(store)).toEqual([]);
});
