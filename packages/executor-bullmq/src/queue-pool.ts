import { LayerfoldError, type ReportEvent, z } from "@layerfold/core";
import type { PoolRequest } from "@layerfold/pipeline";
import type { BegunStage, PoolContext, Stage, TaskStore, WorkerPool } from "@layerfold/tasks";
import { FlowProducer, Queue, QueueEvents } from "bullmq";
import { queueAddress } from "./queue-address.js";
import { defaultPatience, queueLink } from "./queue-link.js";
import { type QueuedStage, queuedStage } from "./queued-stage.js";
import { digestOf, jobProgress, prefix, queueName } from "./task-job.js";

/** Tasks that a run asks for side by side where it does not say how many. */
const defaultWidth = 16;
/** A run's patience with a queue to which nobody listens, until it says so. */
const secondsUntilLonely = 10;

const poolOptions = z.strictObject({
  patience: z.number().min(0).default(defaultPatience).describe("seconds that the queue may be gone"),
});

/**
 * Workers that listen to a queue on Redis or Valkey: `layerfold work --queue URL`, on any machines that see the store under the same path. The
 * run itself starts none.
 * @throws QUEUE_INVALID, QUEUE_UNREACHABLE, OPTION_INVALID
 */
export async function openPool(request: PoolRequest): Promise<WorkerPool> {
  const address = queueAddress(request.queue);
  const { patience } = optionsOf(request.options);
  const begun = new Map<QueuedStage, PoolContext>();
  const report = (event: ReportEvent) => {
    for (const ctx of begun.values()) return ctx.report?.(event);
  };
  const link = queueLink(address, patience, report);
  const given = { connection: link.connection, prefix };
  const queue = new Queue(queueName, given);
  const flows = new FlowProducer(given);
  const events = new QueueEvents(queueName, given);
  const parts = [queue, flows, events];
  try {
    await link.open(...parts);
  } catch (error) {
    hangUp(parts);
    throw error;
  }

  const settled = (id: string, outcome: "stands" | "unknown") => {
    for (const stage of begun.keys()) stage.settled(digestOf(id), outcome);
  };
  events.on("completed", ({ jobId, returnvalue }) =>
    settled(jobId, `${returnvalue}` === "withdrawn" ? "unknown" : "stands"),
  );
  events.on("failed", ({ jobId }) => settled(jobId, "unknown"));
  events.on("progress", ({ jobId, data }) => {
    const told = jobProgress.safeParse(data).data;
    const mine = [...begun].find(([stage]) => stage.waitsFor(digestOf(jobId)));
    if (!told || !mine) return;
    const [stage, ctx] = mine;
    if (told.type === "refused") {
      const message = `a worker on ${told.host} does not take this task: ${told.code} ${told.message}`;
      ctx.report?.({ type: "diagnostic", severity: "warning", code: "WORKER_REFUSED", message });
    } else if (begun.size === 1 && stage.size === 1) ctx.report?.(told);
  });

  let lonelySince: number | undefined = performance.now();
  const lookForWorkers = async () => {
    // Some services do not say who is connected.
    const listening = await queue.getWorkersCount().catch(() => 1);
    lonelySince = listening > 0 ? undefined : (lonelySince ?? performance.now());
    if (lonelySince === undefined || performance.now() - lonelySince < secondsUntilLonely * 1000) return;
    const message = `no worker listens to ${address.label}: layerfold work --queue ${address.label} starts one`;
    report({ type: "diagnostic", severity: "warning", code: "QUEUE_UNHEARD", message });
  };

  return {
    width: request.workers ?? defaultWidth,
    async begin(stage: Stage, store: TaskStore, ctx: PoolContext): Promise<BegunStage> {
      const queued = queuedStage(stage, store, ctx, { queue, flows, link });
      begun.set(queued, ctx);
      const cancel = async () => {
        begun.delete(queued);
        await queued.cancel();
      };
      try {
        await queued.send();
      } catch (error) {
        await cancel().catch(() => undefined);
        throw error;
      }
      return {
        async check() {
          if (!link.stands()) return;
          if (await queued.sendLost()) await lookForWorkers();
          if (queued.size === 0) begun.delete(queued);
        },
        cancel,
      };
    },
    async close() {
      const answers = isAnswering(link);
      link.leave();
      if (answers) await Promise.allSettled(parts.map((part) => part.close()));
      else hangUp(parts);
    },
  };
}

/** Of a server that does not answer nobody waits for the last word. */
function hangUp(parts: readonly { close(): Promise<void>; disconnect(): Promise<void> }[]): void {
  for (const part of parts) {
    part.close().catch(() => undefined);
    part.disconnect().catch(() => undefined);
  }
}

function isAnswering(link: { stands(): boolean }): boolean {
  try {
    return link.stands();
  } catch {
    return false;
  }
}

function optionsOf(options: PoolRequest["options"]): z.infer<typeof poolOptions> {
  const parsed = poolOptions.safeParse(options ?? {});
  if (parsed.success) return parsed.data;
  const [{ message, path }] = parsed.error.issues;
  throw new LayerfoldError("OPTION_INVALID", "not an option of the executor bullmq", {
    wanted: "executor.patience=SECONDS",
    got: message,
    where: ["--set executor", ...path].join("."),
  });
}
