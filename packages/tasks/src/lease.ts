import { link, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isTemporaryName, temporaryBeside } from "@layerfold/disk";
import { type Holder, holderRuns, newHolder } from "./holder.js";
import type { Lease, LeaseHolder } from "./task-store.js";

export interface LeaseOptions {
  /** Between two signs of life. */
  readonly heartbeatSeconds?: number;
  /** Without a sign of life, as seen by one who waits, until the lease may be taken over. */
  readonly staleSeconds?: number;
}

/**
 * Leases in a folder that several machines may see: one file each, `DIGEST.N`, created exclusively; its modification time is the sign of life.
 * The greatest N holds. Who takes over from a dead process creates N + 1, which only one can; nobody renames or rewrites another's file, so
 * no order of events gives two holders of the same N. A process of this host that is gone is known at once; of another host, one waits until
 * the sign of life has not changed for `staleSeconds` of one's own clock.
 * @param folder - must be there: were it made here, a store that somebody removes would come to life again
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
    const runs = holder && (await holderRuns(holder));
    if (runs !== undefined) return !runs;
    const now = performance.now();
    const before = watched.get(file);
    if (before?.mtimeMs !== mtimeMs) {
      watched.set(file, { mtimeMs, since: now });
      return false;
    }
    // One that was never written to the end, by a process that was killed at that.
    const limit = holder ? staleSeconds : Math.min(staleSeconds, 2 * heartbeatSeconds);
    return now - before.since > limit * 1000;
  };

  return async (digest) => {
    const present = await generations(folder, digest);
    const last = present.at(-1) ?? 0;
    if (last > 0 && !(await isStale(join(folder, `${digest}.${last}`)))) return undefined;
    watched.delete(join(folder, `${digest}.${last}`));
    const own = last + 1;
    const file = join(folder, `${digest}.${own}`);
    const token = await createExclusively(file);
    return token === undefined ? undefined : held(folder, digest, own, token, heartbeatSeconds);
  };
}

/** Who holds leases in a folder, by what they are of; what died on this host is left out. */
export async function leaseHolders(folder: string): Promise<Map<string, LeaseHolder>> {
  const latest = new Map<string, number>();
  for (const name of await readdir(folder)) {
    const [, of, generation] = /^(.+)\.(\d+)$/.exec(name) ?? [];
    if (of === undefined || isTemporaryName(name)) continue;
    latest.set(of, Math.max(latest.get(of) ?? 0, Number(generation)));
  }
  const holders = new Map<string, LeaseHolder>();
  for (const [of, generation] of latest) {
    const file = join(folder, `${of}.${generation}`);
    const holder = await readHolder(file);
    const found = await stat(file).catch(() => undefined);
    if (!holder || !found) continue;
    if ((await holderRuns(holder)) === false) continue;
    const silentSeconds = Math.max(0, (Date.now() - found.mtimeMs) / 1000);
    holders.set(of, { host: holder.host, process: holder.process, silentSeconds });
  }
  return holders;
}

function held(folder: string, digest: string, own: number, token: string, heartbeatSeconds: number): Lease {
  const file = join(folder, `${digest}.${own}`);
  const beat = setInterval(() => {
    const now = new Date();
    // Taken over, or the disk is away: the work goes on all the same.
    utimes(file, now, now).catch(() => undefined);
  }, heartbeatSeconds * 1000);
  beat.unref();
  return {
    deaths: own - 1,
    async release() {
      clearInterval(beat);
      // Another store may have come into the place of one that was removed.
      if ((await readHolder(file))?.token !== token) return;
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

/** @returns the lease's token; nothing where another was quicker */
async function createExclusively(file: string): Promise<string | undefined> {
  const holder = await newHolder();
  const text = `${JSON.stringify(holder)}\n`;
  // Whole from the first moment: of one without a holder nobody could tell whether that is dead.
  const draft = temporaryBeside(file);
  try {
    await writeFile(draft, text, { flag: "wx" });
    await link(draft, file).catch((error) => {
      if (!linkless.includes(error.code)) throw error;
      return writeFile(file, text, { flag: "wx" });
    });
    return holder.token;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return undefined;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/** What disks say that know no hard links. */
const linkless = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"];

async function readHolder(file: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch {
    // Not yet written to, or gone.
    return undefined;
  }
}
