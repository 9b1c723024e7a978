import { isLayerfoldError, LayerfoldError, parseJson } from "@layerfold/core";
import { refuseLfsPointer } from "./lfs-pointer.js";
import { readTextFile } from "./text-file.js";

/**
 * The JSON object that a file holds.
 * @param code - of the error where it holds none
 * @throws `code`, LFS_POINTER, and what `readTextFile` throws
 */
export async function readJsonObject(file: string, code: string): Promise<Record<string, unknown>> {
  const text = await readTextFile(file);
  refuseLfsPointer(text, file);
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw new LayerfoldError(code, "not JSON", { got: (cause as Error).message, where: file, cause });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new LayerfoldError(code, "not a JSON object", { where: file });
}

/** What is read from a file; undefined where there is no such file. */
export function ifThere<T>(read: Promise<T>): Promise<T | undefined> {
  return read.catch((error) => {
    if (isLayerfoldError(error, "FILE_MISSING")) return undefined;
    throw error;
  });
}
