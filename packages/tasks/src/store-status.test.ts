import { mkdtemp, readlink, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { LayerfoldError, type MatmulEngine } from "@layerfold/core";
import { afterEach, beforeEach, expect, it } from "vitest";
import { jsonCodec } from "./codec.js";
import { noteFailure } from "./failure.js";
import { localExecutor } from "./local-executor.js";
import { existingFolderStore, openFolderStore } from "./opened-store.js";
import { postStage, stageOf } from "./stage.js";
import { storeStatus } from "./store-status.js";
import { defineTask } from "./task.js";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-status-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const define = (kind: string) =>
  defineTask({
    ...{ kind, code: "1", codec: jsonCodec<number>() },
    run: async ({ value }: { value: number }) => value,
  });
const [cube, square] = [define("cube"), define("square")];

it("tells what is done, running, failed and missing, by stage and kind", async () => {
  const folder = join(root, "store");
  const { store, leave } = await openFolderStore(folder);
  const [done, running, failed, elsewhere] = [1, 2, 3, 4].map((value) => square({ value }));
  const waiting = cube({ value: 1 });
  await localExecutor().run([done, cube({ value: 9 })], store, { engine: {} as MatmulEngine });
  const lease = await store.lease(running.digest);
  await noteFailure(failed, new LayerfoldError("NUMBER_UNLUCKY", "no such number"), 3, store);
  const other = { host: "elsewhere", namespace: null, process: 17, started: null, token: "1" };
  const silent = join(folder, "leases", `${elsewhere.digest}.1`);
  await writeFile(silent, JSON.stringify(other));
  const then = new Date(Date.now() - 300_000);
  await utimes(silent, then, then);
  // Of a process of this host that is dead.
  const namespace = await readlink("/proc/self/ns/pid").catch(() => null);
  const dead = { ...other, host: hostname(), namespace, process: 2 ** 30 };
  await writeFile(join(folder, "leases", `${waiting.digest}.1`), JSON.stringify(dead));
  const stage = stageOf([done, running, failed, elsewhere, waiting]);
  await postStage(stage, store);

  const status = await storeStatus(await existingFolderStore(folder));
  const here = { host: hostname(), process: process.pid, silentSeconds: expect.any(Number) };
  expect(status).toEqual({
    location: folder,
    users: [here],
    stages: [
      {
        id: stage.id,
        kinds: [
          { kind: "cube", done: 0, running: 0, failed: 0, missing: 1 },
          { kind: "square", done: 1, running: 2, failed: 1, missing: 0 },
        ],
      },
    ],
    finished: ["cube", "square"].map((kind) => ({ kind, tasks: 1, bytes: 2, seconds: expect.any(Number) })),
    running: expect.arrayContaining([
      { digest: running.digest, kind: "square", ...here },
      {
        digest: elsewhere.digest,
        kind: "square",
        host: "elsewhere",
        process: 17,
        silentSeconds: expect.any(Number),
      },
    ]),
    failed: [
      {
        ...{
          digest: failed.digest,
          kind: "square",
          tries: 1,
          final: true,
          host: hostname(),
          process: process.pid,
        },
        ...{ code: "NUMBER_UNLUCKY", message: "no such number" },
      },
    ],
  });
  expect(status.running.map(({ silentSeconds }) => silentSeconds > 200).sort()).toEqual([false, true]);
  await lease?.release();
  await leave();
});

it("looks at a store only where one is: none is begun", async () => {
  const nothing = join(root, "nothing");
  await expect(existingFolderStore(nothing)).rejects.toMatchObject({ code: "FILE_MISSING" });
  await expect(existingFolderStore(root)).rejects.toMatchObject({ code: "STORE_FOREIGN" });
});
