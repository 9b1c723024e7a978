import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MatmulEngine, ReportEvent } from "@layerfold/core";
import { openPool, type QueueWorkerOptions, workQueue } from "@layerfold/executor-bullmq";
import * as tasks from "@layerfold/tasks";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { noServer, type RedisServer, redisServer } from "./redis-server.js";
import { tinyTasks } from "./tiny-tasks.mjs";

const { constant, sum, busy, failing, deadly } = tinyTasks(tasks);
const program = new URL("./tiny-process.mjs", import.meta.url);
const root = mkdtempSync(join(tmpdir(), "layerfold-queue-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

if (noServer !== undefined) console.warn(`the queue is not tested: ${noServer}`);

describe.skipIf(noServer !== undefined)("a queue on Redis", () => {
  let server: RedisServer;
  let store: tasks.TaskStore;
  let log: string;
  let count = 0;
  let told: ReportEvent[] = [];
  const stop: (() => Promise<unknown>)[] = [];
  beforeEach(async () => {
    server = await redisServer();
    store = await tasks.folderStore(join(root, `store-${++count}`));
    log = join(root, `log-${count}`);
    writeFileSync(log, "");
    told = [];
  });
  afterEach(async () => {
    for (const one of stop.splice(0).reverse()) await one();
    await server.remove();
  });

  const codes = () => told.map((event) => (event.type === "diagnostic" ? event.code : event.type));
  const lines = () => readFileSync(log, "utf8").trim().split("\n").sort();
  const ctx = (signal?: AbortSignal) => ({
    engine: {} as MatmulEngine,
    signal,
    report: (event: ReportEvent) => told.push(event),
  });

  async function executor(options: Readonly<Record<string, tasks.Json>> = {}) {
    const request = { queue: server.url, workers: 4, options, command: () => ["false"] as const };
    const made = tasks.workerExecutor(await openPool(request as never));
    stop.push(() => made.close());
    return made;
  }

  /** A worker that listens until the test is over. */
  function worker(options: Partial<QueueWorkerOptions> = {}) {
    const ending = new AbortController();
    const running = workQueue(
      { queue: server.url, program, lockSeconds: 2, ...options },
      { signal: ending.signal, report: (event) => told.push(event) },
    ).catch((error) => error);
    stop.push(() => {
      ending.abort();
      return running;
    });
    return running;
  }

  it("makes every task once, those first that others read, and leaves nothing in Redis", async () => {
    worker();
    worker({ concurrency: 2 });
    const parts = [1, 2, 3, 4, 5].map((value) => constant({ value, log }));
    const [a, b, c, d, e] = parts;
    // Both read c: it is a job once.
    const left = sum({ value: 100, log }, { a, b, c });
    const right = sum({ value: 200, log }, { c, d, e });
    const all = sum({ value: 300, log }, { left, right });
    // Two runs ask for the same at the same time.
    const [first, second] = [await executor(), await executor()];
    const values = await Promise.all([
      first.run([all, left], store, ctx()),
      second.run([all, right], store, ctx()),
    ]);
    expect(values).toEqual([
      [18, 6],
      [18, 12],
    ]);
    expect(lines()).toEqual(["1", "100", "2", "200", "3", "300", "4", "5"]);
    while (/@/.test(server.tell("keys", "*"))) await sleep(50);
  });

  it("goes on when the server has forgotten all, and when a task's process is killed", async () => {
    worker();
    worker();
    const made = await executor();
    const values = Array.from({ length: 8 }, (_, value) => value);
    const slow = values.map((value) => busy({ value, log, milliseconds: 300 }));
    const running = made.run([...slow, deadly({ value: 9, log })], store, ctx());
    await sleep(500);
    await server.stop();
    await sleep(300);
    await server.start();
    expect(await running).toEqual([...values, 9]);
    expect(codes()).toContain("QUEUE_GONE");
    expect(codes()).toContain("QUEUE_BACK");
    // The one that killed its process was made twice, no other.
    expect(lines()).toEqual([...values.map(String), "9", "9"]);
  });

  it("stops with the task's own error, keeps the rest and takes its jobs back", async () => {
    worker();
    const made = await executor();
    const failed = failing({ value: 0, log });
    const reader = sum({ value: 1 }, { failed });
    await expect(made.run([constant({ value: 7 }), reader], store, ctx())).rejects.toThrow(
      "this one never works",
    );
    expect(lines()).toEqual(["0", "0", "0"]);
    expect(await store.has(constant({ value: 7 }))).toBe(true);
    // What a worker had just begun finds that it is wanted no more.
    while (/@/.test(server.tell("keys", "*"))) await sleep(50);
  });

  it("takes back what no worker has begun", async () => {
    const made = await executor();
    const ending = new AbortController();
    const running = made.run([constant({ value: 1 })], store, ctx(ending.signal));
    running.catch(() => undefined);
    while (!/@/.test(server.tell("keys", "*"))) await sleep(20);
    ending.abort();
    await expect(running).rejects.toMatchObject({ code: "INTERRUPTED" });
    expect(server.tell("keys", "*")).not.toMatch(/@/);
  });

  it("lets a worker go that cannot do what is asked for, and the job wait for another", async () => {
    process.env.TINY_LACKS = "constant";
    const refusing = worker();
    const made = await executor();
    const running = made.run([constant({ value: 3, log })], store, ctx());
    expect(await refusing).toMatchObject({ code: "TASK_UNKNOWN" });
    delete process.env.TINY_LACKS;
    worker();
    expect(await running).toEqual([3]);
    expect(codes()).toContain("WORKER_REFUSED");
  });

  it("works in no store that it was not told of", async () => {
    const told = await tasks.folderStore(join(root, `told-${count}`));
    const refusing = worker({ stores: [told.location], idleSeconds: 1 });
    const made = await executor();
    const ending = new AbortController();
    const running = made.run([constant({ value: 1, log })], store, ctx(ending.signal));
    running.catch(() => undefined);
    expect(await refusing).toEqual({ made: 0, failed: 0 });
    ending.abort();
    await expect(running).rejects.toMatchObject({ code: "INTERRUPTED" });
    expect(codes()).toContain("STORE_REFUSED");
  });

  it("stops when the queue is gone for good, and does not begin where there is none", async () => {
    const idle = worker({ patience: 0.2 });
    const made = await executor({ patience: 0.2 });
    const running = made.run([constant({ value: 1 })], store, ctx());
    await Promise.race([running, sleep(200)]).catch(() => undefined);
    const rest = made.run([busy({ value: 2, milliseconds: 1500 })], store, ctx());
    rest.catch(() => undefined);
    await sleep(300);
    await server.stop();
    await expect(rest).rejects.toMatchObject({ code: "QUEUE_LOST" });
    expect(await idle).toMatchObject({ code: "QUEUE_LOST" });
    const secret = `redis://somebody:hush@127.0.0.1:${server.port}`;
    const refused = await workQueue({ queue: secret }, {}).catch((error) => error);
    expect(refused).toMatchObject({ code: "QUEUE_UNREACHABLE" });
    expect(`${refused.message}`).not.toContain("hush");
  });
});
