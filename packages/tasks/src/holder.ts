import { randomUUID } from "node:crypto";
import { readlink } from "node:fs/promises";
import { hostname } from "node:os";
import { isRunning, startOf } from "@layerfold/disk";

/** Who holds a lease, as it stands in the store. */
export interface Holder {
  readonly host: string;
  /** Within which process numbers mean the same: containers of one host name need not share it. */
  readonly namespace: string | null;
  readonly process: number;
  /** Tells two processes of the same number apart, where the system says when each was started. */
  readonly started: string | null;
  readonly token: string;
}

/** This process, with a token of its own for every call. */
export async function newHolder(): Promise<Holder> {
  return {
    host: hostname(),
    namespace: await processNamespace(),
    process: process.pid,
    started: startOf(process.pid)?.toString() ?? null,
    token: randomUUID(),
  };
}

/** Whether a holder still runs; undefined where that cannot be seen from here, since it is a process of another host. */
export async function holderRuns({
  host,
  namespace,
  process,
  started,
}: Holder): Promise<boolean | undefined> {
  if (host !== hostname() || namespace !== (await processNamespace())) return undefined;
  return isRunning(process, started === null ? undefined : Number(started));
}

async function processNamespace(): Promise<string | null> {
  return readlink("/proc/self/ns/pid").catch(() => null);
}
