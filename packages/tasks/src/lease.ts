import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, readlink, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Lease } from "./task-store.js";

export interface LeaseOptions {
  /** Between two signs of life. */
  readonly heartbeatSeconds?: number;
  /** Without a sign of life, as seen by one who waits, until the lease may be taken over. */
  readonly staleSeconds?: number;
}

interface Holder {
  readonly host: string;
  /** Within which process numbers mean the same: containers of one host name need not share it. */
  readonly namespace: string | null;
  readonly process: number;
  /** Tells two processes of the same number apart, where the system says when each was started. */
  readonly started: string | null;
  readonly token: string;
}

/**
 * Leases in a folder that several machines may see: one file each, `DIGEST.N`, created exclusively; its modification time is the sign of life.
 * The greatest N holds. Who takes over from a dead process creates N + 1, which only one can; nobody renames or rewrites another's file, so
 * no order of events gives two holders of the same N. A process of this host that is gone is known at once; of another host, one waits until
 * the sign of life has not changed for `staleSeconds` of one's own clock.
 */
export function folderLeases(
  folder: string,
  { heartbeatSeconds = 5, staleSeconds = 120 }: LeaseOptions = {},
): (digest: string) => Promise<Lease | undefined> {
  /** When a lease's sign of life was first seen as it is. */
  const watched = new Map<string, { mtimeMs: number; since: number }>();

  const isStale = async (file: string): Promise<boolean> => {
    const holder = await readHolder(file);
    const mtimeMs = await stat(file).then(
      (found) => found.mtimeMs,
      () => undefined,
    );
    // Released in this moment.
    if (mtimeMs === undefined) return true;
    if (holder?.host === hostname() && holder.namespace === (await processNamespace())) {
      return !(await isAlive(holder));
    }
    const now = performance.now();
    const before = watched.get(file);
    if (before?.mtimeMs !== mtimeMs) {
      watched.set(file, { mtimeMs, since: now });
      return false;
    }
    return now - before.since > staleSeconds * 1000;
  };

  return async (digest) => {
    await mkdir(folder, { recursive: true });
    const present = await generations(folder, digest);
    const last = present.at(-1) ?? 0;
    if (last > 0 && !(await isStale(join(folder, `${digest}.${last}`)))) return undefined;
    watched.delete(join(folder, `${digest}.${last}`));
    const own = last + 1;
    const file = join(folder, `${digest}.${own}`);
    if (!(await createExclusively(file))) return undefined;
    return held(folder, digest, own, heartbeatSeconds);
  };
}

function held(folder: string, digest: string, own: number, heartbeatSeconds: number): Lease {
  const file = join(folder, `${digest}.${own}`);
  const beat = setInterval(() => {
    const now = new Date();
    // Taken over, or the disk is away: the work goes on all the same.
    utimes(file, now, now).catch(() => undefined);
  }, heartbeatSeconds * 1000);
  beat.unref();
  return {
    async release() {
      clearInterval(beat);
      // The oldest first: whoever looks meanwhile still sees the holder.
      for (const generation of await generations(folder, digest)) {
        if (generation <= own) await rm(join(folder, `${digest}.${generation}`), { force: true });
      }
    },
  };
}

/** The numbers of a digest's leases, ascending. */
async function generations(folder: string, digest: string): Promise<number[]> {
  const names = await readdir(folder);
  return names
    .filter((name) => name.startsWith(`${digest}.`))
    .map((name) => Number(name.slice(digest.length + 1)))
    .filter((generation) => Number.isSafeInteger(generation) && generation > 0)
    .sort((a, b) => a - b);
}

async function createExclusively(file: string): Promise<boolean> {
  const holder: Holder = {
    host: hostname(),
    namespace: await processNamespace(),
    process: process.pid,
    started: await startOf(process.pid),
    token: randomUUID(),
  };
  try {
    const handle = await open(file, "wx");
    try {
      await handle.writeFile(`${JSON.stringify(holder)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function readHolder(file: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch {
    // Not yet written to, or gone.
    return undefined;
  }
}

async function isAlive({ process: id, started }: Holder): Promise<boolean> {
  try {
    process.kill(id, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  return started === null || (await startOf(id)) === started;
}

async function processNamespace(): Promise<string | null> {
  return readlink("/proc/self/ns/pid").catch(() => null);
}

/** When a process was started, in ticks since the machine was; null where the system does not say. */
async function startOf(id: number): Promise<string | null> {
  const line = await readFile(`/proc/${id}/stat`, "utf8").catch(() => undefined);
  // The second field, the program's name in brackets, may hold blanks.
  return line?.slice(line.lastIndexOf(")") + 2).split(" ")[19] ?? null;
}
