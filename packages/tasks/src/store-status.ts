import { failedDigests, readFailure } from "./failure.js";
import { readStageFacts, type StageFacts, stageIds } from "./stage.js";
import type { LeaseHolder, TaskStore } from "./task-store.js";

/** What a store can say of the work in it. */
export interface StoreStatus {
  readonly location: string;
  /** Who has it open, and asks for work. */
  readonly users: readonly LeaseHolder[];
  /** What is asked for at the moment. */
  readonly stages: readonly StageStatus[];
  /** All that stands, whoever asked for it. */
  readonly finished: readonly FinishedKind[];
  readonly running: readonly RunningTask[];
  readonly failed: readonly FailedTask[];
}

export interface StageStatus {
  readonly id: string;
  readonly kinds: readonly {
    readonly kind: string;
    readonly done: number;
    readonly running: number;
    /** Given up. */
    readonly failed: number;
    /** Neither of these: it waits for its turn. */
    readonly missing: number;
  }[];
}

export interface FinishedKind {
  readonly kind: string;
  readonly tasks: number;
  readonly bytes: number;
  /** That they took to make, together. */
  readonly seconds: number;
}

export interface RunningTask extends LeaseHolder {
  readonly digest: string;
  /** Absent of what no stage asks for. */
  readonly kind?: string;
}

export interface FailedTask {
  readonly digest: string;
  readonly kind: string;
  readonly tries: number;
  /** It is not tried again. */
  readonly final: boolean;
  readonly host: string;
  readonly process: number;
  readonly code: string;
  readonly message: string;
}

/**
 * What is done, running, failed and missing in a store.
 * Cost: every artefact's record is read once; no artefact is.
 * @throws STAGE_INVALID
 */
export async function storeStatus(store: TaskStore): Promise<StoreStatus> {
  // Who makes what first, and what stands last: what is finished meanwhile counts as done.
  const holders = await store.holders();
  const stages: StageFacts[] = [];
  for (const id of await stageIds(store)) {
    const facts = await readStageFacts(id, store);
    if (facts) stages.push(facts);
  }
  const failed = await failedTasks(store);
  const done = new Set<string>();
  const finished = new Map<string, { tasks: number; bytes: number; seconds: number }>();
  for await (const { digest, kind, files, seconds } of store.list()) {
    done.add(digest);
    const all = finished.get(kind) ?? { tasks: 0, bytes: 0, seconds: 0 };
    finished.set(kind, all);
    all.tasks++;
    all.seconds += seconds;
    for (const file of Object.values(files)) all.bytes += file.bytes;
  }
  const kinds = new Map(stages.flatMap(({ ranks }) => ranks.map(({ digest, kind }) => [digest, kind])));
  const running = [...holders].flatMap(([digest, holder]) => {
    if (!/^[0-9a-f]{64}$/.test(digest) || done.has(digest)) return [];
    const kind = kinds.get(digest);
    return [{ digest, ...(kind !== undefined && { kind }), ...holder }];
  });
  const atWork = new Set(running.map(({ digest }) => digest));
  const givenUp = new Set(failed.filter(({ final }) => final).map(({ digest }) => digest));
  return {
    location: store.location,
    users: [...holders].flatMap(([name, holder]) => (name.startsWith("run-") ? [holder] : [])),
    stages: stages.map((stage) => stageStatus(stage, done, atWork, givenUp)),
    finished: [...finished].map(([kind, all]) => ({ kind, ...all })).sort(byKind),
    running,
    failed: failed.filter(({ digest }) => !done.has(digest)),
  };
}

function stageStatus(
  { id, ranks }: StageFacts,
  done: ReadonlySet<string>,
  running: ReadonlySet<string>,
  failed: ReadonlySet<string>,
): StageStatus {
  const counts = new Map<string, { done: number; running: number; failed: number; missing: number }>();
  for (const { digest, kind } of ranks) {
    const count = counts.get(kind) ?? { done: 0, running: 0, failed: 0, missing: 0 };
    counts.set(kind, count);
    if (done.has(digest)) count.done++;
    else if (running.has(digest)) count.running++;
    else if (failed.has(digest)) count.failed++;
    else count.missing++;
  }
  return { id, kinds: [...counts].map(([kind, count]) => ({ kind, ...count })).sort(byKind) };
}

async function failedTasks(store: TaskStore): Promise<FailedTask[]> {
  const found: FailedTask[] = [];
  for (const digest of await failedDigests(store)) {
    const failure = await readFailure({ digest }, store);
    if (!failure) continue;
    const { kind, tries, final, host, process, error } = failure;
    found.push({ digest, kind, tries, final, host, process, code: error.code, message: error.reason });
  }
  return found;
}

function byKind(a: { readonly kind: string }, b: { readonly kind: string }): number {
  return a.kind < b.kind ? -1 : 1;
}
