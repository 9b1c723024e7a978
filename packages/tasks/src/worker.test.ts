import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { LayerfoldError, type MatmulEngine } from "@layerfold/core";
import { afterEach, beforeEach, expect, it } from "vitest";
import { jsonCodec } from "./codec.js";
import type { ExecutionContext } from "./executor.js";
import { folderStore } from "./folder-store.js";
import { localExecutor, workerExecutor } from "./local-executor.js";
import { otherWorkers } from "./other-workers.js";
import { processWorkers } from "./process-workers.js";
import { readStageFacts, stageIds, type TaskKinds } from "./stage.js";
import { type Artefact, defineTask, type Task } from "./task.js";
import type { TaskStore } from "./task-store.js";
import { work, workRank } from "./worker.js";

let root: string;
let store: TaskStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-workers-"));
  store = await folderStore(join(root, "store"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const engine = {} as MatmulEngine;
let tries = 0;
let fault: "input" | "environment" = "environment";
const square = defineTask({
  kind: "square",
  code: "1",
  codec: jsonCodec<number>(),
  run: async ({ of }: { of: number }) => of * of,
});
const sum = defineTask({
  kind: "sum",
  code: "1",
  codec: jsonCodec<number>(),
  run: async (_: Record<never, never>, { a, b }: { a: Artefact<number>; b: Artefact<number> }) =>
    (await a.read()) + (await b.read()),
});
const failing = defineTask({
  kind: "failing",
  code: "1",
  codec: jsonCodec<number>(),
  async run({ until }: { until: number }): Promise<number> {
    if (++tries < until) throw new LayerfoldError("NO_LUCK", "not this time", { got: `${tries}`, fault });
    return tries;
  },
});
const here = defineTask({
  kind: "here",
  code: "1",
  codec: jsonCodec<number>(),
  here: true,
  run: async (): Promise<number> => 7,
});

const kinds: TaskKinds = {
  factory: (kind) => [square, sum, failing, here].find((factory) => factory.kind === kind) as never,
  outside: async (reference) => ({
    digest: (reference as { digest: string }).digest,
    path: "",
    diagnostics: [],
    read: async () => 5,
  }),
};

/** Runs tasks while so many workers are at the store. */
async function withWorkers<T>(
  count: number,
  tasks: readonly Task<T>[],
  given: TaskKinds = kinds,
  executor = localExecutor,
) {
  const stop = new AbortController();
  const settled: string[] = [];
  const workers = Array.from({ length: count }, () =>
    work(store, { kinds: given, executor: executor() }, { engine, signal: stop.signal }),
  );
  const ended = Promise.allSettled(workers);
  const ctx: ExecutionContext = { engine, settled: (task, how) => settled.push(`${how} ${task.kind}`) };
  try {
    return { values: await workerExecutor(otherWorkers()).run(tasks, store, ctx), settled };
  } finally {
    stop.abort();
    await ended;
  }
}

it("has workers make tasks, what they read first, and each once", async () => {
  const squares = Array.from({ length: 12 }, (_, of) => square({ of }));
  const all = [...squares, sum({}, { a: squares[3], b: squares[4] })];
  const { values, settled } = await withWorkers(3, all);
  expect(values).toEqual([...Array.from({ length: 12 }, (_, i) => i * i), 25]);
  expect(settled.sort()).toEqual([...Array(12).fill("made square"), "made sum"]);
  expect(await stageIds(store)).toEqual([]);
  expect((await withWorkers(0, all)).settled).toEqual(all.map(({ kind }) => `found ${kind}`));
});

it("makes here what no other process can, and what is read from outside is named", async () => {
  const outside: Artefact<number> = {
    ...{ digest: "ab", path: "five", diagnostics: [], reference: { digest: "ab" } },
    read: async () => 5,
  };
  expect((await withWorkers(1, [sum({}, { a: here({}), b: outside })])).values).toEqual([12]);
  const unnamed = { ...outside, digest: "cd", reference: undefined } as unknown as Artefact<number>;
  // It runs here, what it reads does not.
  expect((await withWorkers(1, [sum({}, { a: square({ of: 2 }), b: unnamed })])).values).toEqual([9]);
});

it("tries again what failed, and gives up with the task's own error", async () => {
  [tries, fault] = [0, "environment"];
  expect((await withWorkers(2, [failing({ until: 3 })])).values).toEqual([3]);
  expect(await readdir(join(root, "store/failures"))).toEqual([]);
  tries = 0;
  const kept = square({ of: 9 });
  await expect(withWorkers(1, [kept, failing({ until: 100 })])).rejects.toMatchObject({
    code: "NO_LUCK",
    got: "3",
  });
  expect(tries).toBe(3);
  expect(await store.has(kept)).toBe(true);
  expect(await stageIds(store)).toEqual([]);
  // Asked for anew it is tried anew; what the input is at fault for only once.
  [tries, fault] = [0, "input"];
  await expect(withWorkers(1, [failing({ until: 100 })])).rejects.toMatchObject({
    code: "NO_LUCK",
    got: "1",
  });
});

it("refuses what it would make differently", async () => {
  const other = defineTask({ kind: "square", code: "2", codec: jsonCodec<number>(), run: async () => 0 });
  const stop = new AbortController();
  const asked = workerExecutor(otherWorkers()).run([square({ of: 2 })], store, {
    engine,
    signal: stop.signal,
  });
  while ((await stageIds(store)).length === 0) await sleep(5);
  const options = { kinds: { ...kinds, factory: () => other as never }, executor: localExecutor() };
  await expect(work(store, options, { engine })).rejects.toMatchObject({ code: "TASK_DIFFERS" });
  const unknown = { ...options, kinds: { ...kinds, factory: () => undefined } };
  await expect(work(store, unknown, { engine })).rejects.toMatchObject({ code: "TASK_UNKNOWN" });
  const refusal = () => new LayerfoldError("PLUGIN_CODE", "another version");
  const refusing = { ...options, kinds: { ...kinds, refusal } };
  await expect(work(store, refusing, { engine })).rejects.toMatchObject({ code: "PLUGIN_CODE" });
  // It is left for others.
  const [id] = await stageIds(store);
  expect((await readStageFacts(id, store))?.ranks).toEqual([
    { digest: square({ of: 2 }).digest, kind: "square", reads: [] },
  ]);
  const one = { kinds, executor: localExecutor() };
  await expect(workRank(store, { id, rank: 1 }, one, { engine })).rejects.toMatchObject({
    code: "RANK_MISSING",
  });
  await expect(workRank(store, { id: "0f", rank: 0 }, one, { engine })).rejects.toMatchObject({
    code: "STAGE_MISSING",
  });
  expect(await workRank(store, { id, rank: 0 }, one, { engine })).toBe("made");
  expect(await asked).toEqual([4]);
});

it("ends with its store, or after a while without work", async () => {
  const options = { kinds, executor: localExecutor() };
  expect(await work(store, { ...options, idleSeconds: 0.1 }, { engine })).toEqual({ made: 0, failed: 0 });
  const working = work(store, options, { engine });
  await sleep(50);
  await rm(join(root, "store"), { recursive: true });
  expect(await working).toEqual({ made: 0, failed: 0 });
});

it("gives up a task of which worker after worker dies, and says where the log is when none can be started", async () => {
  const script = fileURLToPath(new URL("../test/dying-worker.mjs", import.meta.url));
  const dying = defineTask({ kind: "dying", code: "1", codec: jsonCodec<number>(), run: async () => 1 });
  const pool = (...command: [string, ...string[]]) =>
    workerExecutor(processWorkers({ count: 1, command: () => command }));
  const executor = pool(process.execPath, script);
  await expect(executor.run([dying({})], store, { engine })).rejects.toMatchObject({ code: "TASK_DEADLY" });
  await executor.close();
  const lost = { code: "WORKER_LOST" };
  await expect(pool("no-such-program").run([dying({})], store, { engine })).rejects.toMatchObject(lost);
  const broken = pool(process.execPath, "-e", "console.error('no such thing'); process.exit(3)", "--");
  await expect(broken.run([dying({})], store, { engine })).rejects.toThrow("no such thing");
});

it("has idle workers join a task whose parts they can share", async () => {
  const made: number[] = [];
  let busy = 0;
  const joint = defineTask({
    kind: "joint",
    code: "1",
    codec: jsonCodec<number>(),
    joint: true,
    async run(_: Record<never, never>, __, ctx) {
      expect(ctx.joint).toBe(true);
      const parts = Array.from({ length: 8 }, (_, part) =>
        defineTask({
          kind: "part",
          code: ctx.digest,
          codec: jsonCodec<number>(),
          here: true,
          async run({ part }: { part: number }): Promise<number> {
            made.push(part);
            busy = Math.max(busy, ++running);
            await sleep(200);
            running--;
            return part;
          },
        })({ part }),
      );
      const found = await ctx.run(parts);
      return found.reduce((sum, value) => sum + value, 0);
    },
  });
  let running = 0;
  const given = {
    ...kinds,
    factory: (kind: string) => (kind === "joint" ? joint : kinds.factory(kind)) as never,
  };
  // Each worker has one thread, so that its own parts come one after the other.
  const one = () => localExecutor({ resources: { threads: 1 } });
  const { values, settled } = await withWorkers(3, [joint({})], given, one);
  expect([values, settled]).toEqual([[28], ["made joint"]]);
  expect(made.sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(busy).toBeGreaterThan(1);
});
