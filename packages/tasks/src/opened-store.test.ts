import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { MatmulEngine } from "@layerfold/core";
import { afterEach, beforeEach, expect, it } from "vitest";
import { jsonCodec } from "./codec.js";
import { localExecutor } from "./local-executor.js";
import { openFolderStore, removeFolderStore } from "./opened-store.js";
import { defineTask } from "./task.js";
import type { TaskStore } from "./task-store.js";

let root: string;
let folder: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-opened-"));
  folder = join(root, "out.work");
});
afterEach(() => rm(root, { recursive: true, force: true }));

const square = defineTask({
  kind: "square",
  code: "1",
  codec: jsonCodec<number>(),
  run: async ({ value }: { value: number }) => value * value,
});
const make = (store: TaskStore, value: number) =>
  localExecutor().run([square({ value })], store, { engine: {} as MatmulEngine });

it("goes when the last one leaves it, and not before", async () => {
  const [a, b] = await Promise.all([openFolderStore(folder), openFolderStore(folder)]);
  expect([await a.alone(), await a.isEmpty()]).toEqual([false, true]);
  await make(a.store, 3);
  expect(await a.leave({ remove: true })).toBe("in use");
  expect([await b.alone(), await b.isEmpty()]).toEqual([true, false]);
  await make(b.store, 4);
  expect(await b.leave({ remove: true })).toBe("removed");
  expect(await readdir(root)).toEqual([]);
});

it("is whole for each of many that enter and leave at once", async () => {
  const visit = async (value: number) => {
    for (let round = 0; round < 3; round++) {
      const { store, leave } = await openFolderStore(folder);
      expect(await make(store, value)).toEqual([value * value]);
      await leave({ remove: true });
    }
  };
  await Promise.all([1, 2, 3, 4, 5, 6].map(visit));
  // Two that leave at once may each take the other for one that is still there, but the last of all removes it.
  expect(await readdir(root)).toEqual([]);
});

it("is not held by a process that is dead", async () => {
  const worker = fileURLToPath(new URL("../test/worker.mjs", import.meta.url));
  const log = join(root, "log");
  await writeFile(log, "");
  const child = spawn(process.execPath, [worker, folder, log, "600000"], { stdio: "inherit" });
  while ((await readFile(log, "utf8")) === "") await sleep(10);
  await expect(removeFolderStore(folder)).rejects.toMatchObject({ code: "STORE_IN_USE" });
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(await removeFolderStore(folder)).toEqual({ tasks: 0, bytes: 0 });
  expect(await readdir(root)).toEqual(["log"]);
});

it("is removed with what is in it, and nothing that it did not make", async () => {
  const { store, leave } = await openFolderStore(folder);
  await make(store, 12);
  await leave();
  await writeFile(join(folder, "letter.txt"), "dear");
  const foreign = { code: "STORE_FOREIGN", got: "letter.txt" };
  await expect(removeFolderStore(folder)).rejects.toMatchObject(foreign);
  const again = await openFolderStore(folder);
  expect(await again.leave({ remove: true })).toBe("foreign");
  expect(await readFile(join(folder, "letter.txt"), "utf8")).toBe("dear");
  await rm(join(folder, "letter.txt"));
  await mkdir(join(folder, "artefacts", "square", "mine"));
  await expect(removeFolderStore(folder)).rejects.toMatchObject({ got: "artefacts/square/mine" });
  await rm(join(folder, "artefacts", "square", "mine"), { recursive: true });
  // `144` and a line's end.
  expect(await removeFolderStore(folder)).toEqual({ tasks: 1, bytes: 4 });
});

it("refuses folders that are none, and those of another version", async () => {
  await expect(removeFolderStore(folder)).rejects.toMatchObject({ code: "FILE_MISSING" });
  await mkdir(folder);
  await expect(removeFolderStore(folder)).rejects.toMatchObject({ code: "STORE_FOREIGN" });
  await writeFile(join(folder, "notes.txt"), "");
  for (const refused of [openFolderStore, removeFolderStore])
    await expect(refused(folder)).rejects.toMatchObject({ code: "STORE_FOREIGN", got: "notes.txt" });
  await writeFile(join(folder, "layerfold-store.json"), '{"layout":7}');
  for (const refused of [openFolderStore, removeFolderStore])
    await expect(refused(folder)).rejects.toMatchObject({ code: "STORE_OTHER_VERSION", got: "7" });
  expect((await readdir(folder)).sort()).toEqual(["layerfold-store.json", "notes.txt"]);
});

it("a lease that was not written to the end is taken over soon", async () => {
  const { store } = await openFolderStore(folder, { heartbeatSeconds: 0.02 });
  await writeFile(join(folder, "leases", "abc.1"), "");
  expect(await store.lease("abc")).toBeUndefined();
  await sleep(100);
  const lease = await store.lease("abc");
  expect(lease).toBeDefined();
  await lease!.release();
  await expect(stat(join(folder, "leases", "abc.1"))).rejects.toMatchObject({ code: "ENOENT" });
});
