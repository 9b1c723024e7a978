import { setMaxListeners } from "node:events";
import { cp, rm, rmdir } from "node:fs/promises";
import { totalmem } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { type Diagnostic, LayerfoldError, threadCount, throwIfAborted } from "@layerfold/core";
import { scratchFolder } from "@layerfold/disk";
import type { ExecutionContext, Executor } from "./executor.js";
import { type Held, resourcePool } from "./resource-pool.js";
import { type ResourceScope, sharedResources } from "./shared-resources.js";
import { canBeSent } from "./stage.js";
import { type StageSender, stageSender } from "./stage-sender.js";
import { type Artefact, isTask, type Resources, type Task, type TaskContext } from "./task.js";
import type { TaskStore } from "./task-store.js";
import type { WorkerPool } from "./worker-pool.js";

export interface LocalExecutorOptions {
  /** What tasks that run side by side may take together; default: all cores, and three quarters of the memory. */
  readonly resources?: Partial<Resources>;
  /** Bytes that costly things may hold together which no task uses at the moment; default: a quarter of the memory. */
  readonly idleBytes?: number | undefined;
  /** How often one looks whether another process has finished a task, at most. */
  readonly pollSeconds?: number;
}

/** Between two looks of one who has joined whether the other is done. */
const joinedPollSeconds = 1;

/** A task on its way in this process. */
interface UnderWay {
  readonly artefact: Promise<Artefact>;
  /** Settled once it has its place in line, or is done. */
  readonly inLine: Promise<void>;
}

interface Begun extends ExecutionContext {
  /** Aborted once a task has failed: what runs is finished, since it will be kept, and nothing else begins. */
  readonly begin: AbortSignal;
  /** Says that a task has failed, before what it held goes to the next. */
  fail(error: unknown): void;
  /** Hands tasks of this run to workers. */
  readonly sender?: StageSender | undefined;
}

/**
 * Runs tasks in this process, independent ones side by side as far as their resources allow; one that needs more than there is runs alone. A
 * task that another process is making is waited for, and taken over should that process die.
 */
export function localExecutor(options: LocalExecutorOptions = {}): Required<Executor> {
  return taskExecutor(options);
}

/**
 * Has tasks run by workers: each run's independent tasks are one stage, which stands in the store until all of it is made. What no other process
 * can run (it holds on to values of this one, or reads what only this one can come by) and what merely waits for others runs here.
 */
export function workerExecutor(workers: WorkerPool, options: LocalExecutorOptions = {}): Required<Executor> {
  return taskExecutor(options, workers);
}

function taskExecutor(options: LocalExecutorOptions, workers?: WorkerPool): Required<Executor> {
  const {
    threads = threadCount(),
    // Not a promise that so much is free, but most of what is large lies in files that are mapped.
    bytes = totalmem() * 0.75,
  } = options.resources ?? {};
  const pool = resourcePool({ threads, bytes });
  const shared = sharedResources({ idleBytes: options.idleBytes });
  /** Tasks that are on their way in this process. */
  const running = new WeakMap<TaskStore, Map<string, UnderWay>>();

  /** Sets a task on its way, unless it is. */
  function start(task: Task, store: TaskStore, ctx: Begun): UnderWay {
    const byDigest = running.get(store) ?? new Map<string, UnderWay>();
    running.set(store, byDigest);
    const before = byDigest.get(task.digest);
    if (before) return before;
    let queued = () => {};
    const inLine = new Promise<void>((resolve) => {
      queued = resolve;
    });
    const artefact = foundOrMade(task, store, ctx, queued).finally(() => {
      byDigest.delete(task.digest);
      queued();
    });
    const underWay = { artefact, inLine };
    byDigest.set(task.digest, underWay);
    return underWay;
  }

  async function foundOrMade<T>(
    task: Task<T>,
    store: TaskStore,
    ctx: Begun,
    queued: () => void,
  ): Promise<Artefact<T>> {
    const found = await findTold(task, store, ctx);
    if (found) return found;
    if (ctx.sender && canBeSent(task)) return sent(task, ctx.sender, store, ctx, queued);
    const inputs = new Map<string, Artefact>();
    const needed = Object.entries(task.inputs).map(async ([name, input]) => {
      if (input) inputs.set(name, isTask(input) ? await start(input, store, ctx).artefact : input);
    });
    // What it waits for stands in line in its stead.
    if (Object.values(task.inputs).some((input) => input && isTask(input))) queued();
    await Promise.all(needed);
    for (let waited = 0; ; waited++) {
      const acquired = pool.acquire(task.resources, ctx.begin);
      queued();
      const held = await acquired;
      try {
        // Not before its turn: another process may meanwhile do what waits in line here.
        const lease = await store.lease(task.digest);
        if (!lease) {
          if (ctx.whenBusy === "join") await joined(task, inputs, held, store, ctx);
        } else if (ctx.whenBusy === "join") {
          // Free in this moment: it is made as any other.
          await lease.release();
        } else {
          try {
            if (lease.deaths >= (ctx.mostDeaths ?? Number.POSITIVE_INFINITY))
              throw deadly(task, lease.deaths);
            // The one that had the lease before may have finished in between.
            return (await findTold(task, store, ctx)) ?? (await made(task, inputs, held, store, ctx));
          } finally {
            await lease.release();
          }
        }
      } finally {
        held.release();
      }
      if ((ctx.whenBusy ?? "wait") !== "wait") throw busy(task);
      if (waited === 0) {
        ctx.report?.({
          type: "diagnostic",
          severity: "info",
          code: "TASK_AWAITED",
          message: `another process is at ${task.kind} ${task.digest.slice(0, 12)}: its result is waited for`,
        });
      }
      const seconds = Math.min(options.pollSeconds ?? 2, 0.05 * 2 ** Math.min(waited, 10));
      await sleep(seconds * 1000, undefined, { signal: ctx.begin }).catch(() => throwIfAborted(ctx.begin));
      const elsewhere = await findTold(task, store, ctx);
      if (elsewhere) return elsewhere;
    }
  }

  /** Has a task made by workers, with all that it reads that they can make too. */
  async function sent<T>(
    task: Task<T>,
    sender: StageSender,
    store: TaskStore,
    ctx: Begun,
    queued: () => void,
  ): Promise<Artefact<T>> {
    for (const input of Object.values(task.inputs)) {
      if (!input || !isTask(input)) continue;
      const { artefact, inLine } = start(input, store, ctx);
      // That it fails is heard of by whoever waits for it.
      artefact.catch(ctx.fail);
      await (canBeSent(input) ? inLine : artefact);
    }
    const stands = sender.add(task);
    queued();
    await stands;
    return (await findTold(task, store, ctx, "made")) ?? foundOrMade(task, store, ctx, queued);
  }

  async function findTold<T>(
    task: Task<T>,
    store: TaskStore,
    ctx: ExecutionContext,
    how: "found" | "made" = "found",
  ): Promise<Artefact<T> | undefined> {
    const found = await store.find(task, ctx.report);
    if (!found) return undefined;
    for (const diagnostic of found.diagnostics) ctx.report?.(diagnostic);
    ctx.settled?.(task, how);
    return found;
  }

  async function made<T>(
    task: Task<T>,
    inputs: ReadonlyMap<string, Artefact>,
    held: Held,
    store: TaskStore,
    ctx: Begun,
  ): Promise<Artefact<T>> {
    const resources = shared.scope();
    const diagnostics: Diagnostic[] = [];
    let scratch: string | undefined;
    const taskContext: TaskContext = {
      ...contextOf(task, held, resources, store, ctx),
      report(event) {
        if (event.type === "diagnostic") diagnostics.push(event);
        ctx.report?.(event);
      },
      scratch: async () => (scratch = await store.scratch(task)),
    };
    try {
      const startedAt = performance.now();
      const value = await task.run(inputs, taskContext);
      const seconds = (performance.now() - startedAt) / 1000;
      const artefact = await store.put(task, { value, diagnostics, seconds });
      ctx.settled?.(task, "made");
      return artefact;
    } catch (error) {
      // Only where nothing is in it that the next try could go on from.
      if (scratch !== undefined) await rmdir(scratch).catch(() => undefined);
      ctx.fail(error);
      throw error;
    } finally {
      await resources.end();
    }
  }

  /** Does what another process is at, beside it, until that is done: what it leaves is that one's. */
  async function joined(
    task: Task,
    inputs: ReadonlyMap<string, Artefact>,
    held: Held,
    store: TaskStore,
    ctx: Begun,
  ): Promise<void> {
    const resources = shared.scope();
    const done = new AbortController();
    const signal = AbortSignal.any([ctx.begin, done.signal]);
    const watch = setInterval(async () => {
      if (await store.has(task).catch(() => true)) done.abort();
    }, joinedPollSeconds * 1000);
    const own = await scratchFolder("layerfold-joined");
    const asked = new Map<string, Task>();
    try {
      // From where the other is.
      await cp(await store.scratch(task), own, { recursive: true }).catch(() => undefined);
      const context = contextOf(task, held, resources, store, { ...ctx, signal });
      await task.run(inputs, {
        ...context,
        run(tasks, settled) {
          for (const each of tasks) asked.set(each.digest, each);
          return context.run(tasks, settled);
        },
        // The other may not have read it yet.
        forget: async () => {},
        scratch: async () => own,
        report: undefined,
      });
    } catch {
      // The other will meet the same, or has ended.
      throwIfAborted(ctx.begin);
    } finally {
      clearInterval(watch);
      await resources.end();
      await rm(own, { recursive: true, force: true });
      // What was made anew after the other had let go of it.
      if (done.signal.aborted) for (const each of asked.values()) await store.remove(each);
    }
  }

  function contextOf(
    task: Task,
    held: Held,
    resources: ResourceScope,
    store: TaskStore,
    ctx: Begun,
  ): Omit<TaskContext, "scratch" | "report"> {
    /** Calls of `run` that are not answered yet. */
    let open = 0;
    return {
      digest: task.digest,
      joint: ctx.joint ?? false,
      engine: ctx.engine,
      memory: ctx.memory,
      signal: ctx.signal,
      shared: resources.use,
      async forget(tasks) {
        for (const each of tasks) await store.remove(each);
      },
      async run(tasks, settled) {
        held.release();
        open++;
        try {
          const wanted = new Set(tasks.map(({ digest }) => digest));
          return await run(tasks, store, {
            ...ctx,
            whenBusy: "wait",
            settled(task, how) {
              if (wanted.delete(task.digest)) settled?.();
              ctx.settled?.(task, how);
            },
          });
        } finally {
          if (--open === 0) await held.again(ctx.signal);
        }
      },
    };
  }

  async function run<T>(tasks: readonly Task<T>[], store: TaskStore, ctx: ExecutionContext): Promise<T[]> {
    throwIfAborted(ctx.signal);
    const failed = new AbortController();
    const begin = ctx.signal ? AbortSignal.any([ctx.signal, failed.signal]) : failed.signal;
    // Every task that waits listens.
    setMaxListeners(0, begin, ...(ctx.signal ? [ctx.signal] : []));
    const fail = (error: unknown) => failed.abort(error);
    const sender = workers && stageSender(workers, store, ctx, begin);
    const artefacts: Promise<Artefact<T>>[] = [];
    // In line one after the other, so that they begin in the order in which they were asked for.
    for (const task of tasks) {
      const { artefact, inLine } = start(task, store, { ...ctx, begin, fail, sender });
      artefact.catch(fail);
      artefacts.push(artefact as Promise<Artefact<T>>);
      await inLine;
      if (begin.aborted) break;
    }
    const settled = await Promise.allSettled(artefacts);
    throwIfAborted(ctx.signal);
    if (failed.signal.aborted) throw failed.signal.reason;
    return Promise.all(settled.map((one) => (one as PromiseFulfilledResult<Artefact<T>>).value.read()));
  }

  return {
    run,
    width: workers?.width ?? 1,
    async close(digest) {
      await shared.close(digest);
      if (digest === undefined) await workers?.close();
    },
  };
}

function busy({ kind, digest }: Task): LayerfoldError {
  return new LayerfoldError("TASK_BUSY", "another process is at this task", {
    where: `${kind} ${digest.slice(0, 12)}`,
    fault: "environment",
  });
}

function deadly({ kind, digest }: Task, deaths: number): LayerfoldError {
  return new LayerfoldError(
    "TASK_DEADLY",
    `${deaths} processes were killed while they ran this task, perhaps for want of memory`,
    { where: `${kind} ${digest.slice(0, 12)}`, fault: "environment" },
  );
}
