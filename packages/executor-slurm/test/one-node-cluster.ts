import { execFile, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { availableParallelism, hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

/** A Slurm cluster of this machine alone, with files and ports of its own. */
export interface OneNodeCluster {
  /** To be set for whoever talks to it. */
  readonly environment: Readonly<Record<string, string>>;
  /** As `sinfo --version` says. */
  readonly version: string;
  stop(): Promise<void>;
}

export interface ClusterOptions {
  /** Indices of a job array are below it; default 1001, as Slurm's. */
  readonly maxArraySize?: number;
  /** Jobs that may run at a time; default: the machine's cores. */
  readonly slots?: number;
}

const programs = ["munged", "slurmctld", "slurmd", "sbatch"];

/** Why no cluster can be started here, where none can. */
export function clusterMissing(): string | undefined {
  const missing = programs.filter(
    (name) => spawnSync("sh", ["-c", `command -v ${name}`], { env: path() }).status !== 0,
  );
  if (missing.length > 0) return `needs ${missing.join(", ")}: apt-get install slurm-wlm munge`;
  if (process.getuid?.() !== 0) return "needs root: slurmd starts jobs as their users";
  return undefined;
}

/** Starts slurmctld, slurmd and munged, and waits until jobs can be submitted. */
export async function startCluster({
  maxArraySize = 1001,
  slots = availableParallelism(),
}: ClusterOptions = {}): Promise<OneNodeCluster> {
  const folder = await mkdtemp(join(tmpdir(), "layerfold-slurm-"));
  // munged wants its socket to be reachable by all.
  await chmod(folder, 0o755);
  const at = (name: string) => join(folder, name);
  for (const name of ["state", "spool"]) await mkdir(at(name));
  await writeFile(at("munge.key"), randomBytes(128), { mode: 0o600 });
  const [controller, node] = [await freePort(), await freePort()];
  const host = hostname().split(".")[0];
  const configuration = {
    ClusterName: "layerfold",
    SlurmctldHost: `${host}(127.0.0.1)`,
    SlurmctldPort: controller,
    SlurmdPort: node,
    SlurmUser: "root",
    SlurmdUser: "root",
    AuthType: "auth/munge",
    // A job that goes back into the queue waits for its credential to expire: two minutes, where nothing else is said.
    AuthInfo: `socket=${at("munge.socket")},cred_expire=5`,
    StateSaveLocation: at("state"),
    SlurmdSpoolDir: at("spool"),
    SlurmctldPidFile: at("slurmctld.pid"),
    SlurmdPidFile: at("slurmd.pid"),
    ProctrackType: "proctrack/linuxproc",
    TaskPlugin: "task/none",
    SelectType: "select/cons_tres",
    SelectTypeParameters: "CR_CPU",
    AccountingStorageType: "accounting_storage/none",
    JobAcctGatherType: "jobacct_gather/none",
    ReturnToService: 2,
    // More slots than there are cores.
    SlurmdParameters: "config_overrides",
    KillWait: 5,
    MaxArraySize: maxArraySize,
    // Jobs begin as soon as they can, not in batches.
    SchedulerParameters: "batch_sched_delay=0,sched_min_interval=0,sched_interval=1",
  };
  await writeFile(
    at("slurm.conf"),
    [
      ...Object.entries(configuration).map(([name, value]) => `${name}=${value}`),
      `NodeName=${host} NodeAddr=127.0.0.1 CPUs=${slots} State=UNKNOWN`,
      `PartitionName=main Nodes=${host} Default=YES MaxTime=INFINITE State=UP`,
      "",
    ].join("\n"),
  );
  const environment = { SLURM_CONF: at("slurm.conf") };
  const env = { ...path(), ...environment };
  const munge = ["key", "socket", "pid", "log", "seed"].map(
    (name) => `--${name}-file=${at(`munge.${name}`)}`,
  );
  const daemons = [
    [
      "munged",
      "--foreground",
      "--num-threads=2",
      ...munge.map((arg) => arg.replace("--socket-file", "--socket")),
    ],
    ["slurmctld", "-D"],
    ["slurmd", "-D", "-N", host],
  ] as const;
  let said = "";
  const running: ReturnType<typeof spawn>[] = [];
  const stop = async () => {
    const run = promisify(execFile);
    await run("scancel", [`--user=${process.getuid!()}`], { env }).catch(() => undefined);
    await until(async () => (await run("squeue", ["--noheader"], { env })).stdout.trim() === "", 15).catch(
      () => undefined,
    );
    for (const child of running.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exit = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      const killer = setTimeout(() => child.kill("SIGKILL"), 5000);
      await exit;
      clearTimeout(killer);
    }
    await rm(folder, { recursive: true, force: true });
  };
  try {
    for (const [program, ...args] of daemons) {
      const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding("utf8").on("data", (text) => {
          said = `${said}${text}`.slice(-2000);
        });
      child.on("error", () => undefined);
      running.push(child);
      if (program === "munged") await until(async () => (await stat(at("munge.socket"))).isSocket(), 10);
    }
    const ask = promisify(execFile);
    await until(
      async () => (await ask("sinfo", ["--noheader", "--format=%t"], { env })).stdout.trim() === "idle",
      30,
    );
    const { stdout } = await ask("sinfo", ["--version"], { env });
    return { environment, version: stdout.trim(), stop };
  } catch (cause) {
    await stop();
    throw new Error(`the cluster does not start: ${said}`, { cause });
  }
}

function path(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin` };
}

async function until(done: () => Promise<boolean>, seconds: number): Promise<void> {
  for (const end = performance.now() + seconds * 1000; ; await sleep(50)) {
    if (await done().catch(() => false)) return;
    if (performance.now() > end) throw new Error(`waited ${seconds} s`);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
