import { resolve } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import {
  existingFolderStore,
  folderStore,
  type OpenedStore,
  openFolderStore,
  removeFolderStore,
  type StoreContents,
  type TaskStore,
} from "@layerfold/tasks";

/** A package that is loaded when it is named, and what it gives. */
export async function optionalPackage<T>(name: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw cause;
    throw new LayerfoldError(
      "PACKAGE_MISSING",
      `this takes a package that is not installed: npm install ${name}`,
      {
        fault: "environment",
        cause,
      },
    );
  }
}

/** What a package gives that keeps stores elsewhere than in a folder; a location is `SCHEME://…`. */
interface StorePackage {
  s3Store(location: string, options: StoreOptions): Promise<TaskStore>;
  existingS3Store(location: string): Promise<TaskStore>;
  openS3Store(location: string, options: StoreOptions): Promise<OpenedStore>;
  removeS3Store(location: string): Promise<StoreContents>;
  localFolder(location: string): string;
}

/** What a store is opened with. */
export interface StoreOptions {
  /** Breaks off files that are on their way to it or from it. */
  readonly signal?: AbortSignal | undefined;
}

/** A store for somebody who works in it. @param location - a folder, or `s3://BUCKET/PREFIX` @throws STORE_LOCATION, PACKAGE_MISSING, what opening it throws */
export async function openStoreAt(location: string, options: StoreOptions = {}): Promise<TaskStore> {
  const elsewhere = await storePackage(location);
  return elsewhere ? elsewhere.s3Store(location, options) : folderStore(location);
}

/** The same for whoever asks for work, and holds it open until he leaves. */
export async function enterStoreAt(location: string, options: StoreOptions = {}): Promise<OpenedStore> {
  const elsewhere = await storePackage(location);
  return elsewhere ? elsewhere.openS3Store(location, options) : openFolderStore(location);
}

/** The same for somebody who only looks: none is begun. @throws FILE_MISSING, STORE_FOREIGN, STORE_OTHER_VERSION, and as `openStoreAt` */
export async function existingStoreAt(location: string): Promise<TaskStore> {
  const elsewhere = await storePackage(location);
  return elsewhere ? elsewhere.existingS3Store(location) : existingFolderStore(location);
}

/** The folder of this machine that `OpenedStore.folder` will be. */
export async function localFolderOf(location: string): Promise<string> {
  return (await storePackage(location))?.localFolder(location) ?? resolve(location);
}

/**
 * Removes a store of finished work, and nothing else.
 * @throws FILE_MISSING; STORE_FOREIGN where it is none, or holds what no store does; STORE_OTHER_VERSION; STORE_IN_USE while somebody is at
 * work in it; STORE_LOCATION, PACKAGE_MISSING, what reaching a bucket throws
 */
export async function removeStore(location: string): Promise<StoreContents> {
  const elsewhere = await storePackage(location);
  return elsewhere ? elsewhere.removeS3Store(location) : removeFolderStore(location);
}

/** @returns nothing where the location is a folder */
async function storePackage(location: string): Promise<StorePackage | undefined> {
  const [, scheme] = /^([a-z][a-z0-9+.-]+):\/\//i.exec(location) ?? [];
  if (scheme === undefined) return undefined;
  if (scheme === "s3") return optionalPackage<StorePackage>("@layerfold/store-s3");
  throw new LayerfoldError("STORE_LOCATION", "no store can be kept there", {
    wanted: "a folder, or s3://BUCKET/PREFIX",
    got: location,
  });
}
