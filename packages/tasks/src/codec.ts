import { readFile, rename, writeFile } from "node:fs/promises";
import type { z } from "@layerfold/core";

/** How a value lies on disk: in a form that people and other tools read. */
export interface Codec<T> {
  /** Name of the file or folder in the artefact's folder, e.g. `value.json`. */
  readonly name: string;
  /** Writes to a path where nothing is yet. */
  write(value: T, path: string): Promise<void>;
  /** @throws whatever; the artefact then counts as damaged and is made again */
  read(path: string): Promise<T>;
}

/** A value as indented JSON; numbers come back bit for bit. @param schema - held against what is read */
export function jsonCodec<T>(schema?: z.ZodType<T>): Codec<T> {
  return {
    name: "value.json",
    write: (value, path) => writeFile(path, `${JSON.stringify(value, null, 2)}\n`),
    async read(path) {
      const value: unknown = JSON.parse(await readFile(path, "utf8"));
      return schema ? schema.parse(value) : (value as T);
    },
  };
}

/**
 * A folder. The task gives the path of one that it has made in its scratch folder; it is moved, not copied.
 * @param name - of the folder, e.g. `checkpoint`
 */
export function folderCodec(name: string): Codec<string> {
  return { name, write: (made, path) => rename(made, path), read: async (path) => path };
}
