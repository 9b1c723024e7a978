import { LayerfoldError } from "@layerfold/core";
import { folderStore, type OpenedStore, openFolderStore, type TaskStore } from "@layerfold/tasks";

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

/** A store for somebody who works in it: a folder. */
export async function openStoreAt(location: string): Promise<TaskStore> {
  return folderStore(location);
}

/** The same for whoever asks for work, and holds it open until he leaves. */
export async function enterStoreAt(location: string): Promise<OpenedStore> {
  return openFolderStore(location);
}
