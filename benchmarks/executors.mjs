// The same work by every executor: the grid of executors.yaml, with workers killed by `kill -9` on the way, must leave the same bytes; and so many
// trivial tasks, by which coordination is measured. A lease is taken for every try of a task: as many as there are tasks and kills means that
// nothing was made twice. Slurm is a cluster of this machine alone, started here (needs slurm-wlm, munge and root); Redis a server of this script's
// own (needs redis-server), which is killed on the way too, and forgets all.
// Usage: node benchmarks/executors.mjs [--executors in-process,workers,slurm,bullmq] [--workers 2] [--kills 2] [--tasks 200] [--growth] [--no-grid]
// (after npm run setup)
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, watch } from "node:fs";
import { availableParallelism, cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createJiti } from "jiti";
import { bullmq } from "./executors/bullmq.mjs";

const script = fileURLToPath(import.meta.url);
const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const built = (name) => import(at(`packages/${name}/dist/index.js`));

const { values } = parseArgs({
  options: {
    executors: { type: "string", default: "in-process,workers,slurm,bullmq" },
    workers: { type: "string", default: "2" },
    kills: { type: "string", default: "2" },
    tasks: { type: "string", default: "200" },
    growth: { type: "boolean", default: false },
    "no-grid": { type: "boolean", default: false },
    // Of a worker that makes trivial tasks.
    ...Object.fromEntries(["store", "stage", "rank"].map((name) => [name, { type: "string" }])),
  },
});

const { defineTask, folderStore, jsonCodec, localExecutor, processWorkers, work, workerExecutor, workRank } =
  await built("tasks");
const trivial = defineTask({
  kind: "trivial",
  code: "1",
  codec: jsonCodec(),
  run: async ({ number }) => 2 * number,
});

async function runTrivialWorker({ store: location, stage, rank }) {
  const parent = new AbortController();
  process.once("disconnect", () => parent.abort());
  const store = await folderStore(location);
  const options = { kinds: { factory: () => trivial }, executor: localExecutor() };
  const ctx = { engine: {}, signal: parent.signal };
  try {
    if (stage === undefined) await work(store, options, ctx);
    else await workRank(store, { id: stage, rank: Number(rank) }, options, ctx);
  } catch (error) {
    if (!parent.signal.aborted) throw error;
  }
  process.disconnect?.();
}

async function benchmark(values) {
  const workers = Number(values.workers);
  const names = values.executors.split(",");
  const scratch = mkdtempSync(join(tmpdir(), "layerfold-executors-"));
  const stops = [];
  try {
    const executors = {};
    for (const name of names) {
      const executor = await executorsByName[name]({ workers });
      executors[name] = executor;
      if (executor.stop) stops.push(executor.stop);
    }
    const versions = names.flatMap((name) => executors[name].version ?? []);
    console.log(
      `${cpus()[0].model.trim()}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}${versions.map((version) => `, ${version}`).join("")}; load before ${loadavg()[0].toFixed(1)}`,
    );
    if (!values["no-grid"]) await compareGrids(executors, scratch, Number(values.kills));
    await compareTrivial(executors, scratch, Number(values.tasks));
    if (values.growth) await showGrowth(scratch);
  } finally {
    for (const stop of stops) await stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

/**
 * By name: flags of the command line, what makes an executor for trivial tasks (to be closed), and perhaps a version to be told and what is to be
 * stopped in the end; `begin` and `end` around a grid, and `disturb`, called once in it, with the first kill.
 */
const executorsByName = {
  "in-process": async () => ({ flags: [], open: async () => localExecutor() }),
  workers: async ({ workers }) => ({
    flags: ["--workers", `${workers}`],
    open: async () =>
      workerExecutor(processWorkers({ count: workers, command: () => [process.execPath, script] })),
  }),
  slurm: async ({ workers }) => {
    const { startCluster } = await createJiti(import.meta.url).import(
      at("packages/executor-slurm/test/one-node-cluster.ts"),
    );
    const { openPool } = await built("executor-slurm");
    const cluster = await startCluster({ slots: workers });
    Object.assign(process.env, cluster.environment);
    return {
      flags: ["--executor", "slurm", "--workers", `${workers}`, "--set", "executor.poll=1"],
      open: async () =>
        workerExecutor(
          await openPool({ workers, options: { poll: 1 }, command: () => [process.execPath, script] }),
        ),
      version: cluster.version,
      stop: () => cluster.stop(),
    };
  },
  bullmq,
};

async function compareGrids(executors, scratch, kills) {
  console.log(
    `\n| grid | seconds | tasks | leases taken | killed | bytes |\n| --- | --: | --: | --: | --: | --- |`,
  );
  let first;
  for (const [name, executor] of Object.entries(executors)) {
    const out = join(scratch, name);
    executor.begin?.();
    const { seconds, made, taken, killed } = await runGrid(out, executor, name === "in-process" ? 0 : kills);
    await executor.end?.();
    first ??= { name, out };
    const same = first.out === out ? "" : isSame(first.out, out) ? `as ${first.name}` : "DIFFER";
    console.log(`| ${name} | ${seconds.toFixed(1)} | ${made} | ${taken} | ${killed} | ${same} |`);
    if (same === "DIFFER") process.exitCode = 1;
  }
}

function isSame(a, b) {
  try {
    execFileSync("diff", ["-r", a, b], { stdio: "inherit" });
    return true;
  } catch {
    return false;
  }
}

/** Runs the grid once, and kills so many of the processes that are making something, ten seconds apart, the first with what else may go wrong. */
async function runGrid(out, { flags, disturb }, kills) {
  const store = `${out}.store`;
  await folderStore(store);
  const leases = join(store, "leases");
  const isLease = (name) => /^[0-9a-f]{64}\.\d+$/.test(name);
  let changes = 0;
  const watcher = watch(leases, (event, name) => {
    if (event === "rename" && isLease(name)) changes++;
  });
  const args = ["run", at("benchmarks/executors.yaml"), "--out", out, "--store", store, "--json", "--quiet"];
  const startedAt = performance.now();
  const child = spawn(process.execPath, [at("packages/cli/bin/layerfold.js"), ...args, ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (part) => {
    text += part;
  });
  let ended = false;
  const code = new Promise((resolve) => child.on("close", resolve)).finally(() => {
    ended = true;
  });
  let killed = 0;
  for (let next = performance.now() + 10_000; !ended && killed < kills; await sleep(50)) {
    if (performance.now() < next) continue;
    for (const name of readdirSync(leases).filter(isLease)) {
      const holder = holderOf(join(leases, name));
      if (holder === undefined || holder === child.pid) continue;
      try {
        process.kill(holder, "SIGKILL");
        killed++;
        if (killed === 1) await disturb?.();
        next = performance.now() + 10_000;
        break;
      } catch {
        // It has just ended.
      }
    }
  }
  if ((await code) !== 0) throw new Error(`layerfold run ended with ${await code}`);
  const seconds = (performance.now() - startedAt) / 1000;
  // Events are on their way.
  await sleep(200);
  watcher.close();
  // A lease comes and goes.
  return { seconds, made: JSON.parse(text).tasks.made, taken: changes / 2, killed };
}

function holderOf(lease) {
  try {
    return JSON.parse(readFileSync(lease, "utf8")).process;
  } catch {
    return undefined;
  }
}

async function compareTrivial(executors, scratch, count) {
  console.log(`\n| ${count} trivial tasks | seconds | ms a task |\n| --- | --: | --: |`);
  for (const [name, { open }] of Object.entries(executors)) {
    const executor = await open();
    const seconds = await runTrivial(executor, join(scratch, `trivial-${name}`), count);
    console.log(`| ${name} | ${seconds.toFixed(1)} | ${((seconds / count) * 1000).toFixed(1)} |`);
  }
}

async function runTrivial(executor, folder, count) {
  const store = await folderStore(folder);
  const tasks = Array.from({ length: count }, (_, number) => trivial({ number }));
  const startedAt = performance.now();
  const results = await executor.run(tasks, store, { engine: {} });
  const seconds = (performance.now() - startedAt) / 1000;
  await executor.close();
  if (results.some((value, number) => value !== 2 * number)) throw new Error("a wrong result");
  return seconds;
}

async function showGrowth(scratch) {
  console.log("\n| tasks in the store | ms a task made | ms a task found |\n| --: | --: | --: |");
  for (const count of [100, 1000, 10_000]) {
    const folder = join(scratch, `growth-${count}`);
    const made = await runTrivial(localExecutor(), folder, count);
    const found = await runTrivial(localExecutor(), folder, count);
    console.log(
      `| ${count} | ${((made / count) * 1000).toFixed(2)} | ${((found / count) * 1000).toFixed(2)} |`,
    );
  }
}

if (values.store !== undefined) await runTrivialWorker(values);
else await benchmark(values);
