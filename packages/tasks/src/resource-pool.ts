import { throwIfAborted } from "@layerfold/core";
import type { Resources } from "./task.js";

/** Resources that are held; they can be let go and taken again. */
export interface Held {
  release(): void;
  /** Waits for them once more. */
  again(signal?: AbortSignal): Promise<void>;
}

interface Waiting {
  readonly wanted: Resources;
  readonly start: () => void;
}

/**
 * Threads and bytes that tasks share. Who waits longest is served first, but one that fits may pass one that does not. What is wanted beyond
 * the whole counts as the whole.
 */
export function resourcePool(whole: Resources): {
  acquire(wanted: Resources, signal?: AbortSignal): Promise<Held>;
} {
  let [threads, bytes] = [whole.threads, whole.bytes];
  const queue: Waiting[] = [];

  const serve = () => {
    for (let i = 0; i < queue.length; ) {
      const { wanted, start } = queue[i];
      if (wanted.threads > threads || wanted.bytes > bytes) i++;
      else {
        queue.splice(i, 1);
        threads -= wanted.threads;
        bytes -= wanted.bytes;
        start();
      }
    }
  };
  const give = (back: Resources) => {
    threads += back.threads;
    bytes += back.bytes;
    serve();
  };
  const take = (wanted: Resources, signal?: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const leave = () => {
        const index = queue.indexOf(waiting);
        if (index >= 0) queue.splice(index, 1);
        try {
          throwIfAborted(signal);
        } catch (error) {
          reject(error);
        }
      };
      const waiting: Waiting = {
        wanted,
        start() {
          signal?.removeEventListener("abort", leave);
          resolve();
        },
      };
      if (signal?.aborted) return leave();
      signal?.addEventListener("abort", leave, { once: true });
      queue.push(waiting);
      serve();
    });

  return {
    async acquire({ threads, bytes }, signal) {
      const wanted = {
        threads: Math.min(threads, whole.threads),
        bytes: Math.min(bytes, whole.bytes),
      };
      await take(wanted, signal);
      let holding = true;
      return {
        release() {
          if (holding) give(wanted);
          holding = false;
        },
        async again(signal) {
          if (!holding) await take(wanted, signal);
          holding = true;
        },
      };
    },
  };
}
