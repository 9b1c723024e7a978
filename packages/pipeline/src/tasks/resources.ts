import { threadCount } from "@layerfold/core";
import type { Resources } from "@layerfold/tasks";

/** Of a task that runs a model: it takes all threads, so that one such runs at a time. */
export function allThreads(): Resources {
  return { threads: threadCount(), bytes: 0 };
}

/** Of a task that does nothing but wait for others. */
export function noResources(): Resources {
  return { threads: 0, bytes: 0 };
}
