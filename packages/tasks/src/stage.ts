import { LayerfoldError, z } from "@layerfold/core";
import { type Json, jsonDigest } from "./json.js";
import { type Artefact, inputDigest, isTask, type Task, type TaskInputs } from "./task.js";
import type { TaskStore } from "./task-store.js";

/** Tasks that are handed to workers together: none stands before one that it reads. */
export interface Stage {
  /** Of what it consists of: the same tasks are the same stage. */
  readonly id: string;
  readonly tasks: readonly Task[];
}

/** Kinds of tasks that a process can run, by name, and artefacts from outside that it can come by. */
export interface TaskKinds {
  /** What makes tasks of a kind: see `defineTask`. */
  factory(kind: string): ((parameters: never, inputs: TaskInputs) => Task) | undefined;
  /** @param reference - as `Artefact.reference` says */
  outside(reference: Json): Promise<Artefact>;
  /** Why this process cannot run a task, where it cannot: a plug-in that it lacks or has in another version. */
  refusal?(task: Task): LayerfoldError | undefined;
}

/** What `stages/ID.json` holds. Digests and parameters, never code. */
interface StageFile {
  readonly layout: 1;
  /** Of the tasks that are to be made, by rank. */
  readonly ranks: readonly string[];
  /** These and all that they read, by digest. */
  readonly tasks: Readonly<Record<string, TaskRecord>>;
  /** What comes from outside, by digest. */
  readonly outside: Readonly<Record<string, Json>>;
}

interface TaskRecord {
  readonly kind: string;
  readonly parameters: Json;
  readonly code: string;
  readonly inputs: Readonly<Record<string, InputRecord>>;
}

interface InputRecord {
  readonly digest: string;
  readonly content?: string | undefined;
}

const layout = 1;
const fileSchema = z.object({
  layout: z.literal(layout),
  ranks: z.array(z.string()),
  tasks: z.record(
    z.string(),
    z.object({
      kind: z.string(),
      parameters: z.json(),
      code: z.string(),
      inputs: z.record(z.string(), z.object({ digest: z.string(), content: z.string().optional() })),
    }),
  ),
  outside: z.record(z.string(), z.json()),
});

const nameOf = (id: string) => `stages/${id}.json`;

export function stageOf(tasks: readonly Task[]): Stage {
  return { id: jsonDigest(tasks.map(({ digest }) => digest)).slice(0, 16), tasks };
}

/**
 * Whether another process can run a task: whether all that it reads from outside says how one comes by it. What runs no more than a wait for
 * others stays with whoever asks.
 */
export function canBeSent(task: Task): boolean {
  if (task.here || task.resources.threads === 0) return false;
  return Object.values(task.inputs).every(
    (input) => !input || isTask(input) || input.reference !== undefined,
  );
}

/** Says in the store what is to be done. */
export async function postStage({ id, tasks }: Stage, store: TaskStore): Promise<void> {
  const records: Record<string, TaskRecord> = {};
  const outside: Record<string, Json> = {};
  const add = (task: Task) => {
    if (task.digest in records) return;
    const inputs: Record<string, InputRecord> = {};
    records[task.digest] = { kind: task.kind, parameters: task.parameters, code: task.code, inputs };
    for (const [name, input] of Object.entries(task.inputs)) {
      if (!input) continue;
      const content = inputDigest(input);
      inputs[name] = { digest: input.digest, ...(content !== input.digest && { content }) };
      if (isTask(input)) add(input);
      else outside[input.digest] = input.reference ?? null;
    }
  };
  for (const task of tasks) add(task);
  const ranks = tasks.map(({ digest }) => digest);
  const file: StageFile = { layout, ranks, tasks: records, outside };
  await store.notes.write(nameOf(id), `${JSON.stringify(file)}\n`);
}

/** @throws RANK_MISSING */
export function taskAt({ id, tasks }: Stage, rank: number): Task {
  const task = tasks[rank];
  if (task) return task;
  throw new LayerfoldError("RANK_MISSING", "no such rank in the stage", {
    wanted: `0 to ${tasks.length - 1}`,
    got: `${rank}`,
    where: id,
  });
}

/** Nothing of it is begun any more; what runs is finished. */
export async function withdrawStage({ id }: Pick<Stage, "id">, store: TaskStore): Promise<void> {
  await store.notes.remove(nameOf(id));
}

/** The ids of the stages that stand in a store, sorted. */
export async function stageIds(store: TaskStore): Promise<string[]> {
  return (await store.notes.list("stages"))
    .filter((name) => name.endsWith(".json"))
    .map((name) => name.slice(0, -".json".length));
}

/** A stage as any process can read it: what is to be made, and what each rank waits for in it. */
export interface StageFacts {
  readonly id: string;
  readonly ranks: readonly {
    readonly digest: string;
    readonly kind: string;
    readonly reads: readonly string[];
  }[];
}

/** @returns nothing where it has been withdrawn @throws STAGE_INVALID */
export async function readStageFacts(id: string, store: TaskStore): Promise<StageFacts | undefined> {
  const file = await readFile(id, store);
  if (!file) return undefined;
  const ranks = file.ranks.map((digest) => {
    const { kind, inputs } = file.tasks[digest];
    return { digest, kind, reads: Object.values(inputs).map((input) => input.digest) };
  });
  return { id, ranks };
}

/**
 * The tasks of a stage, ready to be run here.
 * @returns nothing where it has been withdrawn
 * @throws STAGE_INVALID; TASK_UNKNOWN, TASK_DIFFERS where this process is not of the version that wrote it; what `kinds.outside` throws
 */
export async function readStage(id: string, store: TaskStore, kinds: TaskKinds): Promise<Stage | undefined> {
  const file = await readFile(id, store);
  if (!file) return undefined;
  const outside = new Map<string, Artefact>();
  for (const [digest, reference] of Object.entries(file.outside)) {
    const artefact = await kinds.outside(reference);
    if (artefact.digest !== digest) {
      throw new LayerfoldError("INPUT_DIFFERS", "what a task reads is not the same here", {
        wanted: digest.slice(0, 12),
        got: artefact.digest.slice(0, 12),
        where: artefact.path,
        fault: "environment",
      });
    }
    outside.set(digest, artefact);
  }
  const made = new Map<string, Task>();
  const restore = (digest: string): Task => {
    const before = made.get(digest);
    if (before) return before;
    const { kind, parameters, code, inputs } = file.tasks[digest];
    const factory = kinds.factory(kind);
    if (!factory) {
      throw new LayerfoldError("TASK_UNKNOWN", "a task of a kind that is not known here", {
        got: kind,
        where: `stage ${id}`,
        fault: "environment",
      });
    }
    const given = Object.entries(inputs).map(([name, input]) => {
      const found = outside.get(input.digest) ?? restore(input.digest);
      return [name, input.content === undefined ? found : { ...found, content: input.content }];
    });
    const task = factory(parameters as never, Object.fromEntries(given));
    if (task.digest !== digest) {
      throw new LayerfoldError(
        "TASK_DIFFERS",
        task.code === code
          ? `this task says something else here: ${kind}`
          : `this process is of another version of layerfold than the one that asks, or runs on another platform: ${kind}`,
        {
          wanted: `code ${code.slice(0, 12)}`,
          got: task.code.slice(0, 12),
          where: `stage ${id}`,
          fault: "environment",
        },
      );
    }
    made.set(digest, task);
    return task;
  };
  return { id, tasks: file.ranks.map(restore) };
}

async function readFile(id: string, store: TaskStore): Promise<StageFile | undefined> {
  const text = await store.notes.read(nameOf(id));
  if (text === undefined) return undefined;
  try {
    return fileSchema.parse(JSON.parse(text)) as StageFile;
  } catch (cause) {
    throw new LayerfoldError("STAGE_INVALID", "a stage that cannot be read", { where: nameOf(id), cause });
  }
}
