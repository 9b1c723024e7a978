import type { Closable } from "./task.js";

interface Entry {
  readonly resource: Promise<Closable>;
  /** Tasks that run and have asked for it. */
  users: number;
}

/** What one task uses of the shared resources. */
export interface ResourceScope {
  use<R extends Closable>(key: string, open: () => Promise<R>): Promise<R>;
  /** The task is done with all that it asked for. */
  end(): Promise<void>;
}

/**
 * Costly things that the tasks of a process share: each is opened once, and handed to every task that asks for it by the same key, also to
 * several at a time. What no running task uses stays open for the next, but of these only the ones asked for last.
 * @param idleLimit - how many may lie open unused
 */
export function sharedResources(idleLimit = 2): { scope(): ResourceScope; close(): Promise<void> } {
  /** In the order in which they were last asked for. */
  const entries = new Map<string, Entry>();

  const closeIdle = async (keep: number) => {
    const idle = [...entries].filter(([, { users }]) => users === 0);
    for (const [key, { resource }] of idle.slice(0, Math.max(0, idle.length - keep))) {
      entries.delete(key);
      await (await resource.catch(() => undefined))?.close();
    }
  };

  return {
    scope() {
      const used = new Map<string, Entry>();
      return {
        async use<R extends Closable>(key: string, open: () => Promise<R>) {
          const entry = entries.get(key) ?? { resource: open(), users: 0 };
          entries.delete(key);
          entries.set(key, entry);
          if (!used.has(key)) entry.users++;
          used.set(key, entry);
          try {
            return (await entry.resource) as R;
          } catch (error) {
            if (entries.get(key) === entry) entries.delete(key);
            throw error;
          }
        },
        async end() {
          for (const entry of used.values()) entry.users--;
          used.clear();
          await closeIdle(idleLimit);
        },
      };
    },
    close: () => closeIdle(0),
  };
}
