import { hostname } from "node:os";
import { isLayerfoldError, LayerfoldError, z } from "@layerfold/core";
import type { Task } from "./task.js";
import type { TaskStore } from "./task-store.js";

/** What a worker leaves of a task that failed: `failures/DIGEST.json`. */
export interface Failure {
  readonly kind: string;
  /** How often it was tried. */
  readonly tries: number;
  /** It is not tried again. */
  readonly final: boolean;
  readonly host: string;
  readonly process: number;
  readonly error: {
    readonly code: string;
    readonly reason: string;
    readonly wanted?: string | undefined;
    readonly got?: string | undefined;
    readonly where?: string | undefined;
    readonly fault: "input" | "environment" | "interrupted";
    readonly stack?: string | undefined;
  };
}

const schema: z.ZodType<Failure> = z.object({
  kind: z.string(),
  tries: z.int(),
  final: z.boolean(),
  host: z.string(),
  process: z.int(),
  error: z.object({
    code: z.string(),
    reason: z.string(),
    wanted: z.string().optional(),
    got: z.string().optional(),
    where: z.string().optional(),
    fault: z.enum(["input", "environment", "interrupted"]),
    stack: z.string().optional(),
  }),
});

const nameOf = (digest: string) => `failures/${digest}.json`;

export async function readFailure(
  { digest }: Pick<Task, "digest">,
  store: TaskStore,
): Promise<Failure | undefined> {
  const text = await store.notes.read(nameOf(digest));
  try {
    return text === undefined ? undefined : schema.parse(JSON.parse(text));
  } catch {
    // Of another version, or damaged: no reason not to try.
    return undefined;
  }
}

/**
 * Notes that a task failed here. What its input is at fault for is not tried again.
 * @param most - tries of anything else
 */
export async function noteFailure(
  task: Pick<Task, "digest" | "kind">,
  error: unknown,
  most: number,
  store: TaskStore,
): Promise<Failure> {
  const tries = ((await readFailure(task, store))?.tries ?? 0) + 1;
  const { code, reason, wanted, got, where, fault, stack } = isLayerfoldError(error)
    ? error
    : new LayerfoldError("TASK_FAILED", (error as Error)?.message ?? String(error), { fault: "environment" });
  const failure: Failure = {
    kind: task.kind,
    tries,
    final: fault === "input" || tries >= most,
    host: hostname(),
    process: process.pid,
    error: { code, reason, wanted, got, where, fault, stack: (error as Error)?.stack ?? stack },
  };
  await store.notes.write(nameOf(task.digest), `${JSON.stringify(failure, null, 2)}\n`);
  return failure;
}

export async function forgetFailure({ digest }: Pick<Task, "digest">, store: TaskStore): Promise<void> {
  await store.notes.remove(nameOf(digest));
}

/** Digests of the tasks that failed, by one look at the store. */
export async function failedDigests(store: TaskStore): Promise<Set<string>> {
  const names = await store.notes.list("failures");
  return new Set(names.map((name) => name.slice(0, -".json".length)));
}

/** The error as whoever asked for the task is to see it. */
export function errorOf({ error, kind, tries, host, process: id }: Failure): LayerfoldError {
  const { code, reason, stack, ...details } = error;
  const cause = new Error(
    `${kind} failed on ${host}, process ${id}, ${tries === 1 ? "once" : `${tries} times`}`,
  );
  if (stack !== undefined) cause.stack = stack;
  return new LayerfoldError(code, reason, { ...details, cause });
}
