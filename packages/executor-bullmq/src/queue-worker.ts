import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import {
  isLayerfoldError,
  LayerfoldError,
  type ReportEvent,
  threadCount,
  throwIfAborted,
} from "@layerfold/core";
import type { QueueWorkerRequest } from "@layerfold/pipeline";
import type { WorkCounts } from "@layerfold/tasks";
import { DelayedError, type Job, UnrecoverableError, WaitingError, Worker } from "bullmq";
import { refusalOfStore } from "./accepted-store.js";
import { queueAddress } from "./queue-address.js";
import { defaultPatience, type QueueLink, queueLink } from "./queue-link.js";
import { type JobProgress, placeOf, prefix, queueName } from "./task-job.js";
import { taskProcesses } from "./task-processes.js";

export interface QueueWorkerOptions extends QueueWorkerRequest {
  /** Bytes that all tasks together may use. */
  readonly memory?: number;
  /** Calls `serveTasks`; default: makes what pipelines ask for. */
  readonly program?: URL;
  /** Without a sign of life from the process that listens, until another takes its jobs over; default 20. */
  readonly lockSeconds?: number;
}

/** A job that is taken over more often has killed as many workers; the run queues it again if the store does not say so. */
const maxStalledCount = 3;
/** Seconds until a job that cannot be made yet is looked at again: the first time, and at most. */
const [firstPause, lastPause] = [0.1, 5];
/** Seconds until a job that was refused is offered again, to anybody. */
const refusedPause = 2;
/** Of a job whose store nobody accepts. */
const secondsUntilDropped = 24 * 3600;

/**
 * Makes what runs ask for that share a queue, beside any number of other workers. This process listens and says that the jobs are alive; each task runs
 * in a process beside it. Ends when it is aborted, when the queue is gone for good, after long idleness, or with the reason for which it cannot do
 * what is asked for: that job goes back to the queue.
 *
 * @throws QUEUE_INVALID, QUEUE_UNREACHABLE, QUEUE_LOST, INTERRUPTED; TASK_DIFFERS, TASK_UNKNOWN, INPUT_DIFFERS, PLUGIN_CODE, PLUGIN_ABSENT,
 * PLUGIN_MODULE where this is not the installation that the run has
 */
export async function workQueue(
  options: QueueWorkerOptions,
  ctx: {
    readonly signal?: AbortSignal | undefined;
    readonly report?: ((event: ReportEvent) => void) | undefined;
  },
): Promise<WorkCounts> {
  const { concurrency = 1, idleSeconds = Number.POSITIVE_INFINITY, lockSeconds = 20 } = options;
  const address = queueAddress(options.queue);
  const report = ctx.report ?? (() => undefined);
  const link = queueLink(address, options.patience ?? defaultPatience, report);
  const { program, args, environment } = programOf(options, concurrency);
  const processes = taskProcesses(program, args, environment);
  const ending = new AbortController();
  const counts = { made: 0, failed: 0 };
  let [busy, idleSince] = [0, performance.now()];
  let reason: unknown;

  const refuse = async (job: Job, token: string | undefined, error: LayerfoldError): Promise<never> => {
    const { code, message } = error;
    // The run hears of it too.
    await tell(job, { type: "refused", host: hostname(), code, message });
    return putBack(job, token, refusedPause);
  };

  const attempt = async (job: Job, token: string | undefined): Promise<string> => {
    const place = placeOf(job);
    if (!place) throw new UnrecoverableError("not a job of layerfold's");
    const refusal = await refusalOfStore(place.store, options.stores);
    if (refusal !== undefined) {
      // Perhaps of a run that was killed, and whose store was removed. Who still waits for it queues it again.
      if (Date.now() - job.timestamp > secondsUntilDropped * 1000) return "withdrawn";
      const error = new LayerfoldError("STORE_REFUSED", refusal, { fault: "environment" });
      report({ type: "diagnostic", severity: "warning", code: error.code, message: error.message });
      return refuse(job, token, error);
    }
    const outcome = await processes
      .attempt(place, { signal: ending.signal, report: (event) => heard(job, event, report) })
      .catch(async (error: unknown) => {
        if (isLayerfoldError(error, "INTERRUPTED")) {
          await job.moveToWait(token);
          throw new WaitingError();
        }
        if (!isLayerfoldError(error) || error.code === "TASK_PROCESS_ENDED") throw error;
        reason ??= error;
        await refuse(job, token, error).finally(() => ending.abort());
        throw error;
      });
    if (outcome === "not ready" || outcome === "busy") {
      return putBack(job, token, Math.min(lastPause, firstPause * 1.5 ** job.attemptsStarted));
    }
    if (outcome === "failed" || outcome === "failed once") {
      const message = `${job.name} failed; the store tells why`;
      if (outcome === "failed once") throw new Error(message);
      counts.failed++;
      throw new UnrecoverableError(message);
    }
    if (outcome === "made") counts.made++;
    return outcome;
  };

  const worker = new Worker(
    queueName,
    async (job, token) => {
      busy++;
      try {
        return await attempt(job, token);
      } finally {
        busy--;
        idleSince = performance.now();
      }
    },
    {
      connection: link.connection,
      prefix,
      concurrency,
      autorun: false,
      lockDuration: lockSeconds * 1000,
      stalledInterval: lockSeconds * 500,
      maxStalledCount,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 0 },
    },
  );
  const abort = () => ending.abort();
  ctx.signal?.addEventListener("abort", abort, { once: true });
  try {
    await link.open(worker);
    // Errors of the connection are told of by the link; those of a job that is no longer there harm nobody.
    const running = worker.run().catch(() => undefined);
    try {
      while (!ending.signal.aborted && !ctx.signal?.aborted) {
        link.stands();
        if (busy === 0 && (performance.now() - idleSince) / 1000 > idleSeconds) break;
        await sleep(250, undefined, { signal: ending.signal }).catch(() => undefined);
      }
    } finally {
      ending.abort();
      await closed(worker, link, running);
    }
  } finally {
    ctx.signal?.removeEventListener("abort", abort);
    await processes.close();
    worker.close(true).catch(() => undefined);
  }
  if (reason !== undefined) throw reason;
  throwIfAborted(ctx.signal);
  return counts;
}

function programOf({ program, memory, plugins = [], tries }: QueueWorkerOptions, concurrency: number) {
  return {
    program: program ?? new URL("./pipeline-process.js", import.meta.url),
    args: [
      ...(memory === undefined ? [] : ["--memory", `${Math.floor(memory / concurrency)}`]),
      ...(tries === undefined ? [] : ["--tries", `${tries}`]),
      ...plugins.flatMap((path) => ["--plugin", path]),
    ],
    environment: { LAYERFOLD_THREADS: `${Math.max(1, Math.floor(threadCount() / concurrency))}` },
  };
}

/** With the queue gone there is nothing to be said to it. */
async function closed(worker: Worker, link: QueueLink, running: Promise<void>): Promise<void> {
  let answers = false;
  try {
    answers = link.stands();
  } catch {
    // Lost.
  }
  link.leave();
  if (answers) {
    await worker.close();
    await running;
  }
  // Of a server that does not answer nobody waits for the last word.
  else worker.close(true).catch(() => undefined);
}

function heard(job: Job, event: ReportEvent, report: (event: ReportEvent) => void): void {
  if (event.type !== "progress") return;
  report(event);
  tell(job, event);
}

/** Of a job that is no longer in the queue nobody wants to hear. */
async function tell(job: Job, progress: JobProgress): Promise<void> {
  await job.updateProgress(progress).catch(() => undefined);
}

async function putBack(job: Job, token: string | undefined, seconds: number): Promise<never> {
  await job.moveToDelayed(Date.now() + seconds * 1000, token);
  throw new DelayedError();
}
