import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "@layerfold/core";
import type { ExecutionContext } from "./executor.js";
import { errorOf, failedDigests, forgetFailure, readFailure } from "./failure.js";
import { postStage, stageIds, stageOf, withdrawStage } from "./stage.js";
import type { Task } from "./task.js";
import type { TaskStore } from "./task-store.js";
import type { BegunStage, WorkerPool } from "./worker-pool.js";

/** Hands tasks to workers: those that are added within a moment are one stage. */
export interface StageSender {
  /** Resolves once the task's artefact stands. @throws its error, if it has failed for good; what the pool throws */
  add(task: Task): Promise<void>;
}

interface Waiting {
  readonly task: Task;
  resolve(): void;
  reject(error: unknown): void;
}

/** Milliseconds without another task after which those that were added go. */
const quiet = 30;
/** Seconds between two looks at the store: longer and longer while nothing happens. */
const [firstLook, lastLook] = [0.05, 2];
/** Of the time that passes, at most about a tenth goes into looking, however many tasks there are. */
const lookShare = 0.1;

/** @param signal - once it is aborted nothing more begins */
export function stageSender(
  pool: WorkerPool,
  store: TaskStore,
  ctx: ExecutionContext,
  signal: AbortSignal,
): StageSender {
  let gathered = new Map<string, Waiting>();
  let timer: NodeJS.Timeout | undefined;
  return {
    add: (task) =>
      new Promise((resolve, reject) => {
        gathered.set(task.digest, { task, resolve, reject });
        clearTimeout(timer);
        timer = setTimeout(() => {
          const waiting = gathered;
          gathered = new Map();
          void send(waiting, pool, store, ctx, signal);
        }, quiet);
      }),
  };
}

async function send(
  waiting: Map<string, Waiting>,
  pool: WorkerPool,
  store: TaskStore,
  ctx: ExecutionContext,
  signal: AbortSignal,
): Promise<void> {
  const total = waiting.size;
  const stage = stageOf([...waiting.values()].map(({ task }) => task));
  let begun: BegunStage | undefined;
  let wake = () => {};
  /** Of tasks that somebody says are settled. */
  const told = new Set<string>();
  const changed = (digest?: string) => {
    if (digest !== undefined) told.add(digest);
    wake();
  };
  try {
    throwIfAborted(signal);
    // A new try.
    const failed = await failedDigests(store);
    for (const task of stage.tasks) if (failed.has(task.digest)) await forgetFailure(task, store);
    await postStage(stage, store);
    begun = await pool.begin(stage, store, { ...ctx, changed });
    for (let pause = firstLook; ; pause = Math.min(lastLook, pause * 1.5)) {
      throwIfAborted(signal);
      const before = waiting.size;
      const named = [...told];
      told.clear();
      const startedAt = performance.now();
      await settle(named.length > 0 ? named : [...waiting.keys()], waiting, store);
      const seconds = (performance.now() - startedAt) / 1000;
      if (waiting.size < before) {
        pause = firstLook;
        const done = total - waiting.size;
        if (total > 1) ctx.report?.({ type: "progress", stage: "workers", done, total, unit: "tasks" });
      }
      if (waiting.size === 0) break;
      // Another process that asked for the same tasks, and stopped, has withdrawn it.
      if (!(await stageIds(store)).includes(stage.id)) await postStage(stage, store);
      await begun.check?.();
      if (told.size > 0) continue;
      const woken = new AbortController();
      wake = () => woken.abort();
      const until = AbortSignal.any([signal, woken.signal]);
      await sleep(Math.max(pause, seconds / lookShare) * 1000, undefined, { signal: until }).catch(
        () => undefined,
      );
    }
    await begun.end?.().catch(() => undefined);
  } catch (error) {
    await begun?.cancel().catch(() => undefined);
    for (const one of waiting.values()) one.reject(error);
  } finally {
    await withdrawStage(stage, store).catch(() => undefined);
  }
}

/** Of the tasks with these digests, takes away those that stand, or have failed for good. */
async function settle(
  digests: readonly string[],
  waiting: Map<string, Waiting>,
  store: TaskStore,
): Promise<void> {
  const failed = await failedDigests(store);
  for (const digest of digests) {
    const one = waiting.get(digest);
    if (!one) continue;
    const { task, resolve, reject } = one;
    if (await store.has(task)) {
      waiting.delete(digest);
      resolve();
      continue;
    }
    const failure = failed.has(digest) ? await readFailure(task, store) : undefined;
    if (!failure?.final) continue;
    waiting.delete(digest);
    reject(errorOf(failure));
  }
}
