import { createHash } from "node:crypto";
import { z } from "@layerfold/core";
import type { TaskPlace } from "@layerfold/pipeline";

/** Every run and every worker of a Redis database share one queue, under keys that begin with `layerfold:tasks:`. */
export const queueName = "tasks";
export const prefix = "layerfold";

/** What a job carries: where a task stands in a store. Digests and numbers, never code. */
export const jobData = z.strictObject({
  store: z.string().min(1),
  stage: z.string().regex(/^[0-9a-f]{16}$/),
  rank: z.int().min(0),
  kind: z.string(),
});
export type JobData = z.infer<typeof jobData>;

/** What a worker tells of a job while it is at it. */
export const jobProgress = z.union([
  z.object({
    type: z.literal("progress"),
    stage: z.string(),
    done: z.number(),
    total: z.number(),
    unit: z.string(),
  }),
  z.object({ type: z.literal("refused"), host: z.string(), code: z.string(), message: z.string() }),
]);
export type JobProgress = z.infer<typeof jobProgress>;

/**
 * A job is named by its task's digest, so that a task is never queued twice, also by two runs; and by the store into which it is made, since a task
 * that two stores lack is made for each.
 */
export function jobId(digest: string, store: string): string {
  return `${digest}@${createHash("sha256").update(store).digest("hex").slice(0, 8)}`;
}

export function digestOf(id: string): string {
  return id.split("@")[0];
}

/** @returns nothing for what is no job of ours */
export function placeOf(job: {
  readonly id?: string | undefined;
  readonly data: unknown;
}): TaskPlace | undefined {
  const { data } = jobData.safeParse(job.data);
  if (!data || job.id === undefined) return undefined;
  const { store, stage, rank } = data;
  return { store, stage, rank, digest: digestOf(job.id) };
}
