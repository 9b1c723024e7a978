import { hubSettings, pullModel } from "@layerfold/checkpoint";
import { type MatmulEngine, type RunContext, threadCount } from "@layerfold/core";
import type { Execution } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { type DeviceOptions, onnxEngine } from "@layerfold/onnx";
import type { Executor } from "@layerfold/tasks";
import { availableMemory, parseMemory } from "./memory.js";
import { placeOf } from "./place.js";
import { parseSettings, type Settings, settingsOf } from "./settings.js";
import { type ExecutorChoice, executorOf } from "./workers/executors.js";

/** How something is run; all of it may be left out. */
export interface RunOptions extends DeviceOptions {
  /** Of everything random; default 0. */
  readonly seed?: number | undefined;
  /** Options of plug-ins, `KIND.OPTION=VALUE` each. */
  readonly set?: readonly string[] | undefined;
  /** Folder in which finished work is kept, and found again by whoever uses it; default: beside the output, and gone with success. */
  readonly store?: string | undefined;
  /** Keep that folder when all is done. */
  readonly keepWork?: boolean | undefined;
  /** Bytes that may be used, or a size such as "8GiB"; default: what the machine, or its control group, has free. */
  readonly memory?: number | string | undefined;
  /** How models run: as one graph ("whole"), or block by block ("blocks"); default: as the memory allows. */
  readonly execution?: Execution | undefined;
  /** Where tasks run, or its name; default: in this process, or in as many worker processes as `workers` says. Options: `executor.NAME=VALUE` in `set`. */
  readonly executor?: Executor | ExecutorChoice["executor"];
  /** Tasks that workers make side by side: processes of this machine, on all cores together, unless `executor` says otherwise. */
  readonly workers?: number | undefined;
  /** Where the queue is that the executor `bullmq` uses: `redis://HOST:PORT`. */
  readonly queue?: string | undefined;
  /** Products of matrices; default: ONNX Runtime on all cores. */
  readonly engine?: MatmulEngine | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Hears how far things are, and what is odd. */
  readonly report?: RunContext["report"] | undefined;
}

/** What every stage is handed. */
export interface Run {
  readonly ctx: RunContext;
  readonly seed: number;
  readonly settings: Settings;
  /** Where models run; what is absent may be said by a recipe. */
  readonly place: DeviceOptions;
  readonly executor: Executor;
  /** Bytes that may be used. */
  readonly memory: number;
  /** How models run; absent: not decided. */
  readonly execution?: Execution | undefined;
  readonly store?: string;
  readonly keepWork: boolean;
}

export function createRun(options: RunOptions = {}): Run {
  const { seed = 0, set = [], signal, report, store, keepWork = false, execution } = options;
  const memory = options.memory === undefined ? availableMemory() : parseMemory(options.memory);
  const { executor: executorOptions, ...others } = parseSettings(set).values;
  const executor =
    typeof options.executor === "object"
      ? options.executor
      : executorOf(
          {
            executor: options.executor,
            workers: options.workers,
            queue: options.queue,
            options: executorOptions,
          },
          memory,
        );
  const engine = options.engine ?? onnxEngine({ threads: threadCount() });
  return {
    ctx: { rng: seededRng(seed), engine, memory, signal, report },
    seed,
    settings: settingsOf(others),
    place: placeOf(options),
    executor,
    memory,
    ...(execution && { execution }),
    ...(store !== undefined && { store }),
    keepWork,
  };
}

/** The folder of a model: itself, or for `hf:org/name` the hub's cache, where it is downloaded to if need be. */
export async function modelFolder(model: string, { ctx }: Pick<Run, "ctx">): Promise<string> {
  return model.startsWith("hf:")
    ? pullModel(model.slice("hf:".length), hubSettings(process.env), ctx)
    : model;
}

/** A run as it is, or made of options. */
export function asRun(given: RunOptions | Run = {}): Run {
  return "ctx" in given ? given : createRun(given);
}
