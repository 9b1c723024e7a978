import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { MatmulEngine, ReportEvent } from "@layerfold/core";
import { type ExecutionContext, folderStore, type Task, workerExecutor } from "@layerfold/tasks";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openPool } from "../src/slurm-pool.js";
import { clusterMissing, type OneNodeCluster, startCluster } from "./one-node-cluster.js";
import { count, number, sum } from "./tiny-tasks.mjs";

const missing = clusterMissing();
if (missing) console.warn(`a real Slurm is not tested against: it ${missing}`);

const worker = fileURLToPath(new URL("tiny-tasks.mjs", import.meta.url));

describe.skipIf(missing)("a real cluster of one node", () => {
  let cluster: OneNodeCluster;
  let root: string;
  let log: string;
  const before = { ...process.env };
  beforeAll(async () => {
    cluster = await startCluster({ maxArraySize: 4, slots: 4 });
    Object.assign(process.env, cluster.environment);
  });
  afterAll(async () => {
    await cluster?.stop();
    process.env = before;
  });
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "layerfold-slurm-test-"));
    log = join(root, "log");
    await writeFile(log, "");
    process.env.LAYERFOLD_TEST_LOG = log;
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  async function run(tasks: readonly Task<number>[], ctx: Partial<ExecutionContext> = {}, workers = 4) {
    const options = { poll: 0.2 };
    const pool = await openPool({ workers, options, command: () => [process.execPath, worker] });
    const executor = workerExecutor(pool);
    try {
      const store = await folderStore(join(root, "store"));
      return await executor.run(tasks, store, { engine: {} as MatmulEngine, ...ctx });
    } finally {
      await executor.close();
    }
  }
  const queued = () => execFileSync("squeue", ["--noheader", "--format=%i %T"], { encoding: "utf8" });
  const waitFor = async (condition: () => Promise<boolean>) => {
    while (!(await condition())) await sleep(50);
  };
  const noted = async () =>
    (await readFile(log, "utf8"))
      .trim()
      .split("\n")
      .map((line) => line.replace(/ \d+$/, ""));

  it("makes each task once over several arrays and levels, but for one that was killed", async () => {
    const numbers = [0, 1, 2, 3, 4, 5].map((value) => number({ value, dies: value === 2 }));
    const total = sum({}, Object.fromEntries(numbers.map((task, i) => [`n${i}`, task])));
    const reported: ReportEvent[] = [];
    expect(await run([total], { report: (event) => reported.push(event) })).toEqual([15]);
    const made = [0, 1, 2, 2, 3, 4, 5].map((value) => `number ${value}`);
    expect((await noted()).sort()).toEqual([...made, "sum"]);
    expect(reported).toContainEqual(
      expect.objectContaining({ code: "SLURM_RESUBMITTED", message: expect.stringMatching(/FAILED/) }),
    );
    const logs = await readdir(join(root, "store", "logs"));
    expect(logs.map((name) => name.replace(/^[0-9a-f]{16}-/, "")).sort()).toEqual([
      ...["0.log", "1.log", "2.log", "3.log", "4+0.log", "4+1.log", "4+2.log"],
    ]);
    expect(await readdir(join(root, "store", "stages"))).toEqual([]);
  });

  it("a task's own error comes back, and nothing stays in the queue", async () => {
    const total = sum({}, { a: number({ value: 13, fails: true }), b: number({ value: 1, seconds: 60 }) });
    await expect(run([total])).rejects.toMatchObject({ code: "NUMBER_UNLUCKY", got: "13" });
    await waitFor(async () => queued() === "");
  });

  it("an element that is told that its time is up goes back into the queue, and on from where it was", async () => {
    const running = run([count({ to: 12 })]);
    await waitFor(async () => (await noted()).length > 3);
    execFileSync("scancel", ["--signal=USR1", "--batch", `--user=${process.getuid!()}`]);
    expect(await running).toEqual([12]);
    expect(await noted()).toEqual(Array.from({ length: 12 }, (_, unit) => `unit ${unit}`));
    const [name] = await readdir(join(root, "store", "logs"));
    const said = await readFile(join(root, "store", "logs", name), "utf8");
    expect(said).toMatch(/start 1\n[\s\S]*back into the queue\n[\s\S]*start 2\n/);
  });

  it("two that ask for the same do not harm each other, whichever stops", async () => {
    const tasks = [1, 2, 3, 4].map((value) => number({ value, seconds: 1 }));
    const stopped = new AbortController();
    const first = run(tasks, { signal: stopped.signal }, 1).catch(({ code }) => code);
    await waitFor(async () => queued() !== "");
    const second = run(tasks, {}, 2);
    await waitFor(async () => (await noted()).length > 1);
    stopped.abort();
    expect(await first).toBe("INTERRUPTED");
    expect(await second).toEqual([1, 2, 3, 4]);
    await waitFor(async () => queued() === "");
  });
});
