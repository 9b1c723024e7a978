import { setTimeout as sleep } from "node:timers/promises";
import { isLayerfoldError, LayerfoldError, throwIfAborted } from "@layerfold/core";
import type { ExecutionContext, Executor } from "./executor.js";
import { errorOf, forgetFailure, noteFailure, readFailure } from "./failure.js";
import { readStage, type Stage, stageIds, type TaskKinds, taskAt } from "./stage.js";
import { isTask, type Task } from "./task.js";
import type { TaskStore } from "./task-store.js";

export interface WorkerOptions {
  readonly kinds: TaskKinds;
  /** Runs the tasks, in this process. */
  readonly executor: Executor;
  /** Tries of a task that fails, and processes that may die of it, before it is given up; default 3. */
  readonly tries?: number | undefined;
}

export interface WorkOptions extends WorkerOptions {
  /** Ends after so long without work; default: never. */
  readonly idleSeconds?: number | undefined;
}

/** What a worker did. */
export interface WorkCounts {
  readonly made: number;
  /** Tasks that were given up. */
  readonly failed: number;
}

/** Seconds between two looks at a store without work. */
const [firstLook, lastLook] = [0.05, 2];

/**
 * Makes what the stages of a store ask for, beside any number of other workers: who holds a task's lease makes it. Goes on until it is aborted,
 * the store is removed, or nothing was to be done for a while.
 *
 * @throws TASK_DIFFERS, TASK_UNKNOWN, INPUT_DIFFERS, and what `TaskKinds.refusal` gives, where this process cannot do what is asked for; INTERRUPTED
 */
export async function work(
  store: TaskStore,
  options: WorkOptions,
  ctx: ExecutionContext,
): Promise<WorkCounts> {
  const { kinds, executor, idleSeconds = Number.POSITIVE_INFINITY } = options;
  const stages = new Map<string, { readonly stage: Stage; readonly settled: Set<Task> }>();
  let [made, failed] = [0, 0];
  let idleSince = performance.now();
  for (let pause = firstLook; ; pause = Math.min(lastLook, pause * 1.5)) {
    const ids = await stageIds(store);
    for (const id of stages.keys()) if (!ids.includes(id)) stages.delete(id);
    for (const id of ids) {
      const read = stages.has(id) ? undefined : await readStage(id, store, kinds);
      if (read) stages.set(id, { stage: read, settled: new Set() });
      const { stage, settled } = stages.get(id) ?? {};
      for (const task of stage?.tasks ?? []) {
        throwIfAborted(ctx.signal);
        if (settled!.has(task)) continue;
        const outcome = await attempt(task, store, options, ctx);
        if (outcome === "busy" || outcome === "not ready") continue;
        if (outcome !== "failed once") settled!.add(task);
        if (outcome === "made") made++;
        if (outcome === "failed") failed++;
        pause = firstLook;
        idleSince = performance.now();
      }
    }
    if (pause !== firstLook && (await joinOne(stages.values(), store, options, ctx))) pause = firstLook;
    throwIfAborted(ctx.signal);
    if (!(await store.stands())) return { made, failed };
    if ((performance.now() - idleSince) / 1000 > idleSeconds) return { made, failed };
    if (ids.length === 0) await executor.close?.();
    await sleep(pause * 1000, undefined, { signal: ctx.signal }).catch(() => undefined);
  }
}

/** Helps with a task that another process is at, where there is one that can be shared. @returns whether there was */
async function joinOne(
  stages: Iterable<{ readonly stage: Stage; readonly settled: Set<Task> }>,
  store: TaskStore,
  { executor }: WorkOptions,
  ctx: ExecutionContext,
): Promise<boolean> {
  for (const { stage, settled } of stages) {
    for (const task of stage.tasks) {
      if (!task.joint || settled.has(task) || !(await isReady(task, store))) continue;
      // What is wrong with it is for the one to tell that has it.
      await executor
        .run([task], store, { ...ctx, joint: true, whenBusy: "join" })
        .catch(() => throwIfAborted(ctx.signal));
      return true;
    }
  }
  return false;
}

/**
 * Makes one task of a stage, and what it reads where nobody makes that; waits where another process is at it.
 * @param rank - its place in the stage
 * @throws its error once it has been tried often enough; STAGE_MISSING, RANK_MISSING, and what `work` throws
 */
export async function workRank(
  store: TaskStore,
  { id, rank }: { readonly id: string; readonly rank: number },
  options: WorkerOptions,
  ctx: ExecutionContext,
): Promise<"made" | "stands"> {
  const stage = await readStage(id, store, options.kinds);
  if (!stage)
    throw new LayerfoldError("STAGE_MISSING", "no such stage in the store", {
      got: id,
      where: store.location,
    });
  return workTask(taskAt(stage, rank), store, options, ctx);
}

/** The same of a task that is at hand. */
export async function workTask(
  task: Task,
  store: TaskStore,
  options: WorkerOptions,
  ctx: ExecutionContext,
): Promise<"made" | "stands"> {
  for (;;) {
    const outcome = await attempt(task, store, options, { ...ctx, whenBusy: "wait" });
    if (outcome === "made" || outcome === "stands") return outcome;
    const failure = await readFailure(task, store);
    if (failure?.final) throw errorOf(failure);
  }
}

/**
 * What became of a try: `failed` for good, or to be tried again; `busy` where another process holds the task's lease; `not ready` where
 * something that it reads does not stand.
 */
export type Outcome = "made" | "stands" | "failed" | "failed once" | "busy" | "not ready";

/**
 * Tries a task once. What it throws is noted in the store.
 * @throws INTERRUPTED, and what `TaskKinds.refusal` gives
 */
export async function attempt(
  task: Task,
  store: TaskStore,
  { kinds, executor, tries = 3 }: WorkerOptions,
  ctx: ExecutionContext,
): Promise<Outcome> {
  if (await store.has(task)) return "stands";
  const before = await readFailure(task, store);
  if (before?.final) return "failed";
  const waits = ctx.whenBusy === "wait";
  if (!waits && !(await isReady(task, store))) return "not ready";
  const refusal = kinds.refusal?.(task);
  if (refusal) throw refusal;
  try {
    await executor.run([task], store, { whenBusy: "leave", joint: true, ...ctx, mostDeaths: tries });
    if (before) await forgetFailure(task, store);
    return "made";
  } catch (error) {
    throwIfAborted(ctx.signal);
    if (isLayerfoldError(error, "TASK_BUSY")) return "busy";
    if (!(await store.stands())) return "stands";
    const { final } = await noteFailure(
      task,
      error,
      isLayerfoldError(error, "TASK_DEADLY") ? 1 : tries,
      store,
    );
    return final ? "failed" : "failed once";
  }
}

/** Whether all that it reads stands. */
async function isReady(task: Task, store: TaskStore): Promise<boolean> {
  for (const input of Object.values(task.inputs)) {
    if (input && isTask(input) && !(await store.has(input))) return false;
  }
  return true;
}
