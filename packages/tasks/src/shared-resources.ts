import { totalmem } from "node:os";
import type { Closable, Share } from "./task.js";

interface Entry {
  readonly resource: Promise<Closable>;
  /** What it stands on itself, for as long as it is open. */
  readonly base: ResourceScope;
  /** Tasks that run, and resources that are open, and have asked for it. */
  users: number;
}

/** What one task, or one resource, uses of the shared resources. */
export interface ResourceScope {
  readonly use: Share;
  /** It is done with all that it asked for. */
  end(): Promise<void>;
}

export interface SharedResources {
  scope(): ResourceScope;
  /** Closes all that nobody uses. @param part - of its key */
  close(part?: string): Promise<void>;
}

/**
 * Costly things that the tasks of a process share: each is opened once, and handed to every task that asks for it by the same key, also to
 * several at a time. What no running task uses stays open for the next: all that the last task used, and of the rest what was asked for last, as
 * far as it fits.
 * @param idleBytes - that the rest may hold together; default: a quarter of the memory
 * @param idleLimit - how many of it there may be
 */
export function sharedResources({
  idleBytes = totalmem() / 4,
  idleLimit = 16,
}: {
  readonly idleBytes?: number | undefined;
  readonly idleLimit?: number | undefined;
} = {}): SharedResources {
  /** In the order in which they were last asked for. */
  const entries = new Map<string, Entry>();

  /** @param stays - entries that are not looked at */
  const closeIdle = async (
    most: { readonly bytes: number; readonly count: number },
    stays: Set<Entry>,
    part = "",
  ) => {
    let [bytes, count] = [0, 0];
    // From the one that was asked for last to the first, after whatever stands on others.
    for (const [key, entry] of [...entries].reverse()) {
      if (entry.users > 0 || stays.has(entry) || !key.includes(part)) continue;
      const resource = await entry.resource.catch(() => undefined);
      // Meanwhile somebody may have come, or gone through here.
      if (entry.users > 0 || entries.get(key) !== entry) continue;
      const own = resource?.bytes ?? 0;
      if (count < most.count && bytes + own <= most.bytes) {
        count++;
        bytes += own;
        continue;
      }
      entries.delete(key);
      await resource?.close();
      await entry.base.end();
    }
  };

  /** @param ended - what becomes of the entries that it used */
  const scopeOf = (ended: (used: Set<Entry>) => Promise<void>): ResourceScope => {
    const used = new Set<Entry>();
    return {
      async use<R extends Closable>(key: string, open: (share: Share) => Promise<R>) {
        const entry = entries.get(key) ?? opened(open);
        entries.delete(key);
        entries.set(key, entry);
        if (!used.has(entry)) entry.users++;
        used.add(entry);
        try {
          return (await entry.resource) as R;
        } catch (error) {
          if (entries.get(key) === entry) entries.delete(key);
          await entry.base.end();
          throw error;
        }
      },
      async end() {
        const all = new Set(used);
        used.clear();
        for (const entry of all) entry.users--;
        await ended(all);
      },
    };
  };

  const opened = (open: (share: Share) => Promise<Closable>): Entry => {
    const base = scopeOf(async () => {});
    return { resource: open(base.use), base, users: 0 };
  };

  return {
    scope: () => scopeOf((used) => closeIdle({ bytes: idleBytes, count: idleLimit }, used)),
    async close(part) {
      // What stands on others lets go of them.
      for (let before = -1; before !== entries.size; ) {
        before = entries.size;
        await closeIdle({ bytes: -1, count: 0 }, new Set(), part);
      }
    },
  };
}
