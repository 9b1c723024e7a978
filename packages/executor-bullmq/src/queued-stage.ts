import { LayerfoldError, throwIfAborted } from "@layerfold/core";
import { isTask, type PoolContext, readFailure, type Stage, type TaskStore } from "@layerfold/tasks";
import type { FlowProducer, Queue } from "bullmq";
import type { QueueLink } from "./queue-link.js";
import { readsOf, stageFlows } from "./stage-flows.js";
import { jobId } from "./task-job.js";

/** A stage whose tasks are jobs. */
export interface QueuedStage {
  /** Tasks of which nobody has said yet that they stand. */
  readonly size: number;
  waitsFor(digest: string): boolean;
  /** Queues all of it. @throws QUEUE_LOST, INTERRUPTED */
  send(): Promise<void>;
  /**
   * Queues again what is neither there nor queued: a server that was restarted may have forgotten it, and another run may have taken it back.
   * @returns whether it was looked: that costs a question for each task, and is done now and then
   */
  sendLost(): Promise<boolean>;
  /** Somebody says that a task's job is done. */
  settled(digest: string, outcome: "stands" | "unknown"): void;
  /** Takes back what no worker has begun. */
  cancel(): Promise<void>;
}

/** Seconds between two looks for jobs that are lost; longer where they take long. */
const secondsBetweenLooks = 5;
const lookShare = 0.05;
/** Jobs that are asked for in one go. */
const together = 500;
/** For what is taken back on the way out. */
const secondsToCancel = 5;

interface Ends {
  readonly queue: Queue;
  readonly flows: FlowProducer;
  readonly link: QueueLink;
}

export function queuedStage(
  stage: Stage,
  store: TaskStore,
  ctx: PoolContext,
  { queue, flows, link }: Ends,
): QueuedStage {
  const { location } = store;
  const ranks = new Map(stage.tasks.map(({ digest }, rank) => [digest, rank]));
  const open = new Set(ranks.keys());
  const idOf = (digest: string) => jobId(digest, location);
  const readers = new Map<string, string[]>();
  for (const task of stage.tasks) {
    for (const read of readsOf(task)) readers.set(read, [...(readers.get(read) ?? []), task.digest]);
  }
  let nextLook = 0;

  const add = async (digests: Iterable<string>) => {
    const wanted = new Set([...digests].map((digest) => ranks.get(digest)!));
    const trees = stageFlows(stage, location, wanted);
    for (let from = 0; from < trees.length; from += together) {
      throwIfAborted(ctx.signal);
      await link.ask(() => flows.addBulk(trees.slice(from, from + together)), ctx.signal);
    }
  };

  /** Of digests, those to which the answer is yes. */
  const those = async (digests: readonly string[], is: (digest: string) => Promise<boolean>) => {
    const found: string[] = [];
    for (let from = 0; from < digests.length; from += together) {
      const some = digests.slice(from, from + together);
      const answers = await link.ask(() => Promise.all(some.map(is)), ctx.signal);
      found.push(...some.filter((_, i) => answers[i]));
    }
    return found;
  };

  const isQueued = async (digest: string) =>
    (await (await queue.client).hexists(queue.toKey(idOf(digest)), "name")) === 1;
  const isParent = async (digest: string) =>
    (await (await queue.client).zscore(queue.toKey("waiting-children"), idOf(digest))) !== null;

  const isSettled = async (digest: string) => {
    const task = stage.tasks[ranks.get(digest)!];
    return (await store.has(task)) || ((await readFailure(task, store))?.final ?? false);
  };

  /** A run that took its jobs back may have left a parent that waits for none. */
  const freed = async (queued: ReadonlySet<string>) => {
    const parents = await those([...queued], isParent);
    const stuck = parents.filter((digest) => {
      const reads = Object.values(stage.tasks[ranks.get(digest)!].inputs);
      return reads.every((read) => !read || !isTask(read) || !queued.has(read.digest));
    });
    return those(
      stuck,
      async (digest) => (await queue.remove(idOf(digest), { removeChildren: false })) === 1,
    );
  };

  const promoteReaders = async (digest: string) => {
    for (const reader of readers.get(digest) ?? []) {
      const task = stage.tasks[ranks.get(reader)!];
      if (!open.has(reader) || readsOf(task).some((read) => open.has(read))) continue;
      const job = await queue.getJob(idOf(reader));
      if (job && (await job.isDelayed())) await job.promote();
    }
  };

  return {
    get size() {
      return open.size;
    },
    waitsFor: (digest) => open.has(digest),
    send: () => add(open),
    async sendLost() {
      if (performance.now() < nextLook) return false;
      const startedAt = performance.now();
      const asked = [...open];
      const queued = new Set(await those(asked, isQueued));
      const lost = new Set(await freed(queued));
      for (const digest of asked) {
        if (queued.has(digest)) continue;
        if (await isSettled(digest)) {
          open.delete(digest);
          ctx.changed(digest);
        } else lost.add(digest);
      }
      if (lost.size > 0) await add(lost);
      const seconds = (performance.now() - startedAt) / 1000;
      nextLook = performance.now() + Math.max(secondsBetweenLooks, seconds / lookShare) * 1000;
      return true;
    },
    settled(digest, outcome) {
      if (!open.has(digest)) return;
      if (outcome === "stands") {
        open.delete(digest);
        // They would find out for themselves, later.
        promoteReaders(digest).catch(() => undefined);
      } else nextLook = 0;
      ctx.changed(digest);
    },
    async cancel() {
      // Readers first: one whose last child is gone would begin.
      const ids = [...open].map(idOf).reverse();
      open.clear();
      if (!link.stands()) return;
      const removed = (async () => {
        for (const id of ids) await queue.remove(id, { removeChildren: false });
      })();
      await Promise.race([removed, timedOut(secondsToCancel)]);
    },
  };
}

function timedOut(seconds: number): Promise<never> {
  return new Promise((_, reject) => {
    const error = new LayerfoldError("QUEUE_LOST", "the queue does not answer", { fault: "environment" });
    setTimeout(() => reject(error), seconds * 1000).unref();
  });
}
