import { isTask, type Stage, type Task } from "@layerfold/tasks";
import type { FlowJob } from "bullmq";
import { type JobData, jobId, prefix, queueName } from "./task-job.js";

/** Tries of a job before BullMQ gives it up, and the pause after the first; it doubles. When a task is given up, the worker says in the store. */
const attempts = 3;
const firstPause = 1000;
/** The least important that BullMQ knows. */
const lastPriority = 2 ** 21;

/**
 * The tasks of a stage as flows: what a task reads is its child, and made first. A task that several read is the child of the first of them; the
 * others find out for themselves whether it stands.
 * @param wanted - the ranks that are to be queued
 * @returns as few trees as that gives, their roots in the stage's order
 */
export function stageFlows(stage: Stage, store: string, wanted: ReadonlySet<number>): FlowJob[] {
  const ranks = new Map<string, number>();
  for (const rank of wanted) ranks.set(stage.tasks[rank].digest, rank);
  const children = new Map<number, number[]>();
  const roots = new Set(wanted);
  for (const rank of [...wanted].sort((a, b) => a - b)) {
    for (const read of readsOf(stage.tasks[rank])) {
      const child = ranks.get(read);
      if (child === undefined || !roots.delete(child)) continue;
      children.set(rank, [...(children.get(rank) ?? []), child]);
    }
  }
  const flow = (rank: number): FlowJob => {
    const { kind, digest } = stage.tasks[rank];
    const data: JobData = { store, stage: stage.id, rank, kind };
    return {
      name: kind,
      queueName,
      prefix,
      data,
      opts: {
        jobId: jobId(digest, store),
        priority: Math.min(rank + 1, lastPriority),
        attempts,
        backoff: { type: "exponential", delay: firstPause },
        // What became of a task stands in the store.
        removeOnComplete: true,
        removeOnFail: true,
        removeDependencyOnFailure: true,
      },
      children: (children.get(rank) ?? []).map(flow),
    };
  };
  return [...roots].sort((a, b) => a - b).map(flow);
}

/** Digests of the tasks that a task reads. */
export function readsOf(task: Task): string[] {
  return Object.values(task.inputs).flatMap((input) => (input && isTask(input) ? [input.digest] : []));
}
