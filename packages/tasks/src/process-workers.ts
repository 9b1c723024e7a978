import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { fileError } from "@layerfold/disk";
import type { TaskStore } from "./task-store.js";
import type { WorkerPool } from "./worker-pool.js";

export interface ProcessWorkersOptions {
  /** Processes, at least one. */
  readonly count: number;
  /** Program and arguments of one, asked for once it starts; `--store LOCATION` is added. It ends when its channel to this process does. */
  readonly command: () => readonly [string, ...string[]];
  /** Set for it beside what this process has. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Of a worker that is told to end, until it is killed. */
const graceSeconds = 10;
/** Workers that may die one after the other without a sign of life between, for each of them. */
const mostDeaths = 5;

/**
 * Workers that are children of this process: they begin with the first stage, one that is killed is replaced, and all end with this process, however
 * that ends. What they say goes to `worker-N.log` in the folder `TaskStore.logs`.
 */
export function processWorkers({ count, command, environment }: ProcessWorkersOptions): WorkerPool {
  const children = new Map<number, ChildProcess>();
  let broken: LayerfoldError | undefined;
  let deaths = 0;
  let closing = false;
  let changed = () => {};

  const start = (index: number, store: Pick<TaskStore, "location" | "logs">) => {
    const log = join(store.logs, `worker-${index}.log`);
    const descriptor = openSync(log, "a");
    const [program, ...args] = command();
    const child = spawn(program, [...args, "--store", store.location], {
      stdio: ["ignore", descriptor, descriptor, "ipc"],
      env: { ...process.env, ...environment },
    });
    closeSync(descriptor);
    children.set(index, child);
    child.on("error", (cause) => {
      broken ??= lost(`a worker cannot be started: ${cause.message}`, program, cause);
      changed();
    });
    // Told beside the log: on a full disk nothing can be written there.
    let told: string | undefined;
    child.on("message", (message) => {
      told = String((message as { readonly error?: unknown }).error);
    });
    child.on("exit", async (code, signal) => {
      children.delete(index);
      if (closing || broken) return;
      // Ended by itself, well or with an error: another would too. Killed: it is replaced.
      if (signal === null || ++deaths > mostDeaths * count) {
        const said = told ?? (await readFile(log, "utf8").catch(() => "")).trim().split("\n").at(-1);
        broken ??= lost(`a worker ended (${signal ?? `exit code ${code}`}): ${said}`, log);
      } else start(index, store);
      changed();
    });
  };

  return {
    width: count,
    async begin(_, store, ctx) {
      changed = ctx.changed;
      deaths = 0;
      if (!closing && children.size === 0) {
        await mkdir(store.logs, { recursive: true }).catch((error) => {
          throw fileError(error, store.logs);
        });
        for (let index = 1; index <= count; index++) start(index, store);
      }
      return {
        async check() {
          if (broken) throw broken;
        },
        // They see that it is withdrawn.
        cancel: async () => {},
      };
    },
    async close() {
      closing = true;
      await Promise.all(
        [...children.values()].map(async (child) => {
          if (child.exitCode !== null || child.signalCode !== null) return;
          const exit = once(child, "exit");
          if (child.connected) child.disconnect();
          const killer = setTimeout(() => child.kill("SIGKILL"), graceSeconds * 1000);
          await exit;
          clearTimeout(killer);
        }),
      );
      children.clear();
      closing = false;
      broken = undefined;
    },
  };
}

function lost(message: string, where: string, cause?: unknown): LayerfoldError {
  return new LayerfoldError("WORKER_LOST", message, { where, fault: "environment", cause });
}
