import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "@layerfold/core";
import type { ExecutionContext } from "./executor.js";
import { errorOf, forgetFailure, readFailure } from "./failure.js";
import { postStage, stageOf, withdrawStage } from "./stage.js";
import type { Task } from "./task.js";
import type { TaskStore } from "./task-store.js";
import type { BegunStage, WorkerPool } from "./worker-pool.js";

/** Tasks that are gathered, handed to workers together, and waited for. */
export interface SentStage {
  /** Resolves once its artefact stands. To be called before `send`. @throws its error, if it has failed for good */
  add(task: Task): Promise<void>;
  /** Hands over what was added. Resolves when all of it is settled. */
  send(): Promise<void>;
}

interface Waiting {
  readonly task: Task;
  resolve(): void;
  reject(error: unknown): void;
}

/** Seconds between two looks at the store: longer and longer while nothing happens. */
const [firstLook, lastLook] = [0.05, 2];

/** @param signal - once it is aborted, nothing more of the stage begins */
export function sentStage(
  pool: WorkerPool,
  store: TaskStore,
  ctx: ExecutionContext,
  signal: AbortSignal,
): SentStage {
  const waiting = new Map<string, Waiting>();
  let done = 0;
  let wake = () => {};

  /** @returns whether anything was settled */
  const look = async (): Promise<boolean> => {
    const before = waiting.size;
    for (const [digest, one] of [...waiting]) {
      if (await store.has(one.task)) {
        waiting.delete(digest);
        one.resolve();
        continue;
      }
      const failure = await readFailure(one.task, store);
      if (!failure?.final) continue;
      waiting.delete(digest);
      one.reject(errorOf(failure));
    }
    done += before - waiting.size;
    return waiting.size < before;
  };

  const rejectAll = (error: unknown) => {
    for (const one of waiting.values()) one.reject(error);
    waiting.clear();
  };

  return {
    add: (task) => new Promise((resolve, reject) => waiting.set(task.digest, { task, resolve, reject })),
    async send() {
      if (waiting.size === 0) return;
      const total = waiting.size;
      const stage = stageOf([...waiting.values()].map(({ task }) => task));
      let begun: BegunStage | undefined;
      const progress = () =>
        total > 1 && ctx.report?.({ type: "progress", stage: "workers", done, total, unit: "tasks" });
      try {
        throwIfAborted(signal);
        // A new try.
        for (const task of stage.tasks) await forgetFailure(task, store);
        await postStage(stage, store);
        begun = await pool.begin(stage, store, { ...ctx, changed: () => wake() });
        for (let pause = firstLook; waiting.size > 0; ) {
          throwIfAborted(signal);
          if (await look()) {
            progress();
            pause = firstLook;
            continue;
          }
          const woken = new AbortController();
          wake = () => woken.abort();
          await sleep(pause * 1000, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(
            () => undefined,
          );
          await begun.check?.();
          pause = Math.min(lastLook, pause * 1.5);
        }
      } catch (error) {
        await begun?.cancel().catch(() => undefined);
        rejectAll(error);
      } finally {
        await withdrawStage(stage, store).catch(() => undefined);
      }
    },
  };
}
