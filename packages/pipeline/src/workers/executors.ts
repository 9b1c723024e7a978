import { fileURLToPath } from "node:url";
import { LayerfoldError, threadCount } from "@layerfold/core";
import {
  type Executor,
  type Json,
  localExecutor,
  otherWorkers,
  processWorkers,
  type WorkerPool,
  workerExecutor,
} from "@layerfold/tasks";
import { loadedModules } from "../registry.js";
import { optionalPackage } from "./open-store.js";

export const executorNames = ["local", "slurm", "bullmq"] as const;

/** Where tasks run, as a command line says it. */
export interface ExecutorChoice {
  /** Default `local`: this process, or with `workers` processes of this machine. */
  readonly executor?: (typeof executorNames)[number] | undefined;
  /** Tasks that run side by side; of `local` 0: those of workers that are started by hand on the same store. */
  readonly workers?: number | undefined;
  /** Of `bullmq`: `redis://HOST:PORT`. */
  readonly queue?: string | undefined;
  /** Options of the executor, as `--set executor.NAME=VALUE` gives them. */
  readonly options?: Readonly<Record<string, Json>> | undefined;
}

/** What an optional package makes its workers of. */
export interface PoolRequest extends Pick<ExecutorChoice, "workers" | "queue" | "options"> {
  /**
   * Program and arguments that run a worker where this installation can be seen; `--store LOCATION`, and perhaps `--memory BYTES`, `--stage ID` and
   * `--rank NUMBER` are added.
   */
  readonly command: () => readonly [string, ...string[]];
}

/** An optional package's door. */
interface PoolPackage {
  openPool(request: PoolRequest): Promise<WorkerPool>;
}

/** Tasks that are asked for side by side where nothing says how many workers there are. */
const defaultWidth = 16;

/**
 * @param memory - bytes that all of it may use
 * @throws OPTION_INVALID; from its first run PACKAGE_MISSING, and what opening the workers throws
 */
export function executorOf(choice: ExecutorChoice, memory: number): Executor {
  const { executor = "local", workers, queue, options = {} } = choice;
  if (workers !== undefined && !(Number.isSafeInteger(workers) && workers >= 0)) {
    throw new LayerfoldError("OPTION_INVALID", "not a number of workers", {
      wanted: "an integer, 0 for none but those that are started by hand",
      got: `${workers}`,
      where: "workers",
    });
  }
  if (!executorNames.includes(executor)) {
    throw new LayerfoldError("OPTION_INVALID", "no such executor", {
      wanted: executorNames.join(", "),
      got: executor,
      where: "executor",
    });
  }
  const local = { idleBytes: memory / 4 };
  if (executor !== "local") {
    return deferred(workers ?? defaultWidth, async () => {
      const { openPool } = await optionalPackage<PoolPackage>(`@layerfold/executor-${executor}`);
      return workerExecutor(
        await openPool({ workers, queue, options, command: () => workerCommand() }),
        local,
      );
    });
  }
  const [unknown] = Object.keys(options);
  if (unknown !== undefined) {
    throw new LayerfoldError("OPTION_UNKNOWN", "the local executor has no options", {
      got: unknown,
      where: "--set executor",
    });
  }
  if (workers === undefined) return localExecutor(local);
  if (workers === 0) return workerExecutor(otherWorkers(), local);
  const pool = processWorkers({
    count: workers,
    command: () => workerCommand("--memory", `${Math.floor(memory / workers)}`),
    environment: { LAYERFOLD_THREADS: `${Math.max(1, Math.floor(threadCount() / workers))}` },
  });
  return workerExecutor(pool, local);
}

function workerCommand(...args: readonly string[]): readonly [string, ...string[]] {
  const program = fileURLToPath(new URL("./worker-process.js", import.meta.url));
  return [process.execPath, program, ...args, ...loadedModules().flatMap((path) => ["--plugin", path])];
}

/** An executor that is opened once it is needed. */
function deferred(width: number, open: () => Promise<Executor>): Executor {
  let opened: Promise<Executor> | undefined;
  return {
    width,
    async run(tasks, store, ctx) {
      opened ??= open();
      return (await opened).run(tasks, store, ctx);
    },
    async close(digest) {
      await (await opened?.catch(() => undefined))?.close?.(digest);
      if (digest === undefined) opened = undefined;
    },
  };
}
