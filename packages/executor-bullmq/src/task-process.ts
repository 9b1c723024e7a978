import { isLayerfoldError, LayerfoldError, type ReportEvent } from "@layerfold/core";
import type { TaskPlace, TaskWorker } from "@layerfold/pipeline";
import type { Outcome } from "@layerfold/tasks";

/** What the process that listens to the queue tells one that makes tasks, and what it hears. */
export type ToChild = { readonly attempt: TaskPlace } | { readonly abort: true };
export type ToParent =
  | { readonly event: ReportEvent }
  | { readonly outcome: Outcome | "withdrawn" }
  | {
      readonly error: Pick<LayerfoldError, "code" | "reason" | "wanted" | "got" | "where" | "fault">;
    };

/** Without work, until what tasks share is let go of. */
const secondsUntilRest = 30;
/** Between two events of one task. */
const secondsBetweenEvents = 1;

/**
 * Tries tasks as the process that started this one says, one at a time, until that ends.
 * @param opening - what it throws is told of the first task
 */
export function serveTasks(opening: Promise<TaskWorker>): void {
  opening.catch(() => undefined);
  let attempt = new AbortController();
  let resting: NodeJS.Timeout | undefined;
  // The other process may end at any moment.
  const tell = (message: ToParent) => process.connected && process.send?.(message, undefined, {}, () => {});
  // Ctrl-C reaches the whole group, but the other process says when to end.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => undefined);
  process.once("disconnect", () => process.exit());
  process.on("message", async (message: ToChild) => {
    if ("abort" in message) return attempt.abort();
    clearTimeout(resting);
    attempt = new AbortController();
    let toldAt = Number.NEGATIVE_INFINITY;
    const report = (event: ReportEvent) => {
      if (event.type !== "progress" || performance.now() - toldAt < secondsBetweenEvents * 1000) return;
      toldAt = performance.now();
      tell({ event });
    };
    try {
      const worker = await opening;
      tell({ outcome: await worker.attempt(message.attempt, { signal: attempt.signal, report }) });
      resting = setTimeout(() => worker.rest(), secondsUntilRest * 1000).unref();
    } catch (error) {
      const { code, reason, wanted, got, where, fault } = isLayerfoldError(error)
        ? error
        : new LayerfoldError("WORKER_BROKEN", (error as Error)?.message ?? `${error}`, {
            fault: "environment",
          });
      tell({ error: { code, reason, wanted, got, where, fault } });
    }
  });
}
