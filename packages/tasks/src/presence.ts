import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { LayerfoldError } from "@layerfold/core";
import { foreignStore } from "./store-mark.js";
import type { Lease, TaskStore } from "./task-store.js";

/** A store, and who is in it: each that opened it holds a lease `run-…` until it leaves. */
export interface OpenedStore {
  readonly store: TaskStore;
  /** The store's, or where the store is none, one of this machine for what must lie on a disk. */
  readonly folder: string;
  /** Whether nobody else is in it. */
  alone(): Promise<boolean>;
  /** Whether nothing was finished or begun in it. */
  isEmpty(): Promise<boolean>;
  /**
   * @param options.remove - the store goes, unless somebody is still in it or it holds what no store does
   * @returns what became of it: it stays where that was not asked for, or for either of these reasons
   */
  leave(options?: { readonly remove?: boolean }): Promise<"stays" | "removed" | "in use" | "foreign">;
}

/** What a kind of store says of itself, so that one can enter it and remove it. */
export interface StorePlace extends Pick<OpenedStore, "store" | "folder" | "isEmpty"> {
  /** Names of the leases that stand in it. @throws FILE_MISSING or ENOENT where the store is gone, if it can be */
  leases(): Promise<readonly string[]>;
  /** What stands in it that is no store's. */
  foreign(): Promise<readonly string[]>;
  /** Removes it, with all that is in it. */
  remove(): Promise<void>;
  /** Removes what was begun, where one could not enter. */
  takeBack?(): Promise<void>;
}

/** What was in a store. */
export interface StoreContents {
  readonly tasks: number;
  readonly bytes: number;
}

/** Held while one enters a store or removes it, so that nobody enters what goes. */
export const gate = "gate";
const presence = "run-";
/** Seconds between two looks at the gate. */
const [firstLook, lastLook] = [0.02, 0.5];

/** Enters a store, such that nobody removes it before one has left it. @param begin - opens it, or begins it anew */
export async function enterStore(begin: () => Promise<StorePlace>): Promise<OpenedStore> {
  for (;;) {
    const place = await begin();
    const name = `${presence}${randomUUID()}`;
    const own = await place.store
      .lease(name)
      .catch(ignoreMissing)
      .catch(async (error) => {
        await place.takeBack?.();
        throw error;
      });
    // It may have been removed in any of these moments, and be begun anew by another.
    const entered = own && (await holding(place.store, async () => (await place.leases()).includes(name)));
    if (entered) return opened(place, name, own);
    await own?.release().catch(ignoreMissing);
  }
}

function opened(place: StorePlace, name: string, own: Lease): OpenedStore {
  const { store, folder } = place;
  return {
    store,
    folder,
    alone: async () => (await holders(place, name)).length === 0,
    isEmpty: () => place.isEmpty(),
    async leave({ remove = false } = {}) {
      await own.release().catch(ignoreMissing);
      if (!remove) return "stays";
      const left = await holding(store, async () => {
        if ((await holders(place)).length > 0) return "in use";
        if ((await place.foreign()).length > 0) return "foreign";
        await place.remove();
        return "removed";
      });
      // Another was quicker.
      return left ?? "removed";
    },
  };
}

/**
 * Removes a store with all that is in it, and nothing else.
 * @throws STORE_FOREIGN where it holds what no store does, STORE_IN_USE
 */
export async function removeStore(place: StorePlace): Promise<StoreContents> {
  const { store } = place;
  let [tasks, bytes] = [0, 0];
  await holding(store, async () => {
    if ((await holders(place)).length > 0) {
      throw new LayerfoldError("STORE_IN_USE", "another process is at work there", {
        where: store.location,
        fault: "environment",
      });
    }
    const foreign = await place.foreign();
    if (foreign.length > 0) throw foreignStore(store.location, foreign);
    for await (const { files } of store.list()) {
      tasks++;
      for (const file of Object.values(files)) bytes += file.bytes;
    }
    await place.remove();
  });
  return { tasks, bytes };
}

/** Does something while holding the gate. @returns nothing where the store is gone */
async function holding<T>(store: TaskStore, work: () => Promise<T>): Promise<T | undefined> {
  for (let pause = firstLook; ; pause = Math.min(lastLook, pause * 1.5)) {
    let lease: Lease | undefined;
    try {
      lease = await store.lease(gate);
    } catch (error) {
      return ignoreMissing(error as { code?: string });
    }
    if (!lease) {
      await sleep(pause * 1000);
      continue;
    }
    try {
      return (await store.stands()) ? await work() : undefined;
    } finally {
      await lease.release().catch(ignoreMissing);
    }
  }
}

/** What living processes hold in a store: their presence, and tasks that they make. Leases of the dead go. */
async function holders({ store, leases }: StorePlace, except?: string): Promise<string[]> {
  const living: string[] = [];
  for (const name of await leases()) {
    if (name === gate || name === except) continue;
    const lease = await store.lease(name);
    if (lease) await lease.release();
    else living.push(name);
  }
  return living;
}

function ignoreMissing(error: { readonly code?: string }): undefined {
  if (error.code !== "ENOENT" && error.code !== "FILE_MISSING") throw error;
}
