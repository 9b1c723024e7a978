import { LayerfoldError } from "@layerfold/core";
import type { Json, WorkerPool } from "@layerfold/tasks";
import { cancelJobs, maxArraySize, type Queue, queue } from "./slurm-commands.js";
import { slurmOptions } from "./slurm-options.js";
import { slurmStage } from "./slurm-stage.js";

/** What a pool on a cluster is made of. */
export interface SlurmRequest {
  /** Tasks of one stage that may run at a time, and stages that are asked for side by side; default: as many as the cluster lets, and 16. */
  readonly workers?: number | undefined;
  /** See `SlurmOptions`. */
  readonly options?: Readonly<Record<string, Json>> | undefined;
  /** Program and arguments of a worker, as the cluster's machines see them; `--store`, `--stage`, `--rank` and perhaps `--memory` are added. */
  readonly command: () => readonly [string, ...string[]];
}

/** What its stages share. */
export interface Cluster extends Pick<SlurmRequest, "workers" | "command"> {
  readonly options: ReturnType<typeof slurmOptions>;
  /** Indices of a job array are below it. */
  maxArraySize(): Promise<number>;
  /** The queue, as it was at most a poll ago. @throws SLURM_REFUSED while the cluster does not answer */
  look(): Promise<Look>;
  /** Jobs that may have something left to do. */
  readonly jobs: Set<string>;
}

export interface Look {
  /** When it was asked for, by `performance.now()`. */
  readonly at: number;
  readonly queue: Queue;
}

const defaultWidth = 16;

/**
 * Runs the tasks of every stage as job arrays of the cluster to which this machine submits. Jobs that end without a result are submitted again,
 * and those that wait or run are cancelled when the pool is closed.
 * @throws OPTION_UNKNOWN, OPTION_INVALID; when a stage begins: SLURM_MISSING, SLURM_REFUSED
 */
export async function openPool({ workers, options: given = {}, command }: SlurmRequest): Promise<WorkerPool> {
  const options = slurmOptions(given);
  if (workers !== undefined && workers < 1) {
    throw new LayerfoldError("OPTION_INVALID", "jobs are made by the cluster's workers, at least by one", {
      got: `${workers}`,
      where: "workers",
    });
  }
  let last: { readonly at: number; readonly look: Promise<Look> } | undefined;
  let most: Promise<number> | undefined;
  const cluster: Cluster = {
    workers,
    command,
    options,
    jobs: new Set(),
    async maxArraySize() {
      most ??= maxArraySize();
      return most.catch((error) => {
        most = undefined;
        throw error;
      });
    },
    look() {
      const at = performance.now();
      if (!last || at - last.at > options.poll * 1000)
        last = { at, look: queue().then((found) => ({ at, queue: found })) };
      return last.look;
    },
  };
  return {
    width: workers ?? defaultWidth,
    begin: (stage, store, ctx) => slurmStage(cluster, stage, store, ctx),
    async close() {
      await cancelJobs([...cluster.jobs], "all");
      cluster.jobs.clear();
    },
  };
}
