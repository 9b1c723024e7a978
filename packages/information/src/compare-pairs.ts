import { createRequire } from "node:module";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { type RunContext, throwIfAborted } from "@layerfold/core";
import type { InformationOptions } from "./estimate-information.js";
import type { PairWork } from "./pair-worker.js";
import type { Points } from "./read-points.js";

/**
 * Mutual information of pairs of layers on several threads, in nats. Every pair is computed by one thread from the points alone, so the
 * values do not depend on the number of threads.
 *
 * @param layers - the same samples in all
 * @param pairs - indices of layers
 * @throws INTERRUPTED. Memory: one copy of the points, and what an estimator needs to search them once for every thread.
 */
export async function comparePairs(
  layers: readonly Points[],
  pairs: readonly (readonly [number, number])[],
  options: InformationOptions,
  threads: number,
  ctx: RunContext,
): Promise<Float64Array> {
  throwIfAborted(ctx.signal);
  const work: PairWork = {
    options,
    layers: layers.map((points) => ({ ...points, values: sharedFloats(points.values) })),
    pairs: Int32Array.from(pairs.flat()),
    taken: new Int32Array(new SharedArrayBuffer(4)),
    information: sharedFloats(new Float64Array(pairs.length)),
  };
  const workers = Array.from({ length: threads }, () => new Worker(workerFile(), { workerData: work }));
  const stop = () => {
    for (const worker of workers) void worker.terminate();
  };
  ctx.signal?.addEventListener("abort", stop, { once: true });
  try {
    let done = 0;
    const finished = (worker: Worker) =>
      new Promise<void>((resolve, reject) => {
        worker.on("message", () => {
          ctx.report?.({
            type: "progress",
            stage: "similarity",
            done: ++done,
            total: pairs.length,
            unit: "pairs",
          });
        });
        worker.on("error", reject);
        worker.on("exit", () => resolve());
      });
    await Promise.all(workers.map(finished));
  } finally {
    ctx.signal?.removeEventListener("abort", stop);
    stop();
  }
  throwIfAborted(ctx.signal);
  return work.information.slice();
}

function sharedFloats(values: Float64Array): Float64Array {
  const shared = new Float64Array(new SharedArrayBuffer(values.byteLength));
  shared.set(values);
  return shared;
}

/** In the built package, also where this file runs from its source: a thread runs JavaScript only. */
function workerFile(): string {
  return join(createRequire(import.meta.url).resolve("@layerfold/information"), "..", "pair-worker.js");
}
