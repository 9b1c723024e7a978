import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  enterStore,
  gate,
  markFile,
  type OpenedStore,
  removeFolderStore,
  removeStore,
  type StoreContents,
  type StorePlace,
  type TaskStore,
} from "@layerfold/tasks";
import { checkStore, foreignKeys } from "./begin.js";
import { openBucket } from "./bucket.js";
import { inParallel } from "./in-parallel.js";
import { leaseNames } from "./lease.js";
import { localFolder, locationText, parseLocation } from "./location.js";
import { openParts, type S3StoreOptions, s3Store } from "./s3-store.js";

/** `s3Store`, such that nobody removes it before one has left it. @throws as that */
export function openS3Store(location: string, options: S3StoreOptions = {}): Promise<OpenedStore> {
  return enterStore(() => placeOf(location, options));
}

/**
 * Removes a store with all that is in it, and this machine's folder for it; nothing else.
 * @returns what was in the bucket
 * @throws STORE_FOREIGN where there is none or it holds what no store does, STORE_OTHER_VERSION, STORE_IN_USE, and `bucketError`'s codes
 */
export async function removeS3Store(location: string, options: S3StoreOptions = {}): Promise<StoreContents> {
  await checkStoreAt(location);
  const removed = await removeStore(await placeOf(location, options));
  const folder = localFolder(location, options.cache);
  if (await stat(folder).catch(() => undefined)) await removeFolderStore(folder);
  return removed;
}

/** `s3Store` where one is: none is begun. @throws STORE_FOREIGN, STORE_OTHER_VERSION, and `bucketError`'s codes */
export async function existingS3Store(location: string, options: S3StoreOptions = {}): Promise<TaskStore> {
  await checkStoreAt(location);
  return s3Store(location, options);
}

async function checkStoreAt(location: string): Promise<void> {
  const place = parseLocation(location);
  await checkStore(openBucket(place), locationText(place));
}

async function placeOf(location: string, options: S3StoreOptions): Promise<StorePlace> {
  const { store, bucket, folder } = await openParts(location, options);
  return {
    store,
    folder,
    leases: () => leaseNames(bucket),
    async isEmpty() {
      for await (const _ of bucket.list("artefacts/")) return false;
      for (const part of ["scratch", "results"]) {
        if ((await readdir(join(folder, part)).catch(() => [])).length > 0) return false;
      }
      return true;
    },
    foreign: () => foreignKeys(bucket),
    async remove() {
      await bucket.removeUploads("artefacts/");
      // Records before what they tell of, and what makes it a store last: whenever this is broken off, what stands is whole, and can be removed.
      await inParallel(bucket.list("artefacts/"), async ({ key }) => {
        if (key.endsWith("/artefact.json")) await bucket.remove(key);
      });
      await inParallel(bucket.list(""), async ({ key }) => {
        if (key !== markFile && key !== `leases/${gate}`) await bucket.remove(key);
      });
      await bucket.remove(markFile);
    },
  };
}
