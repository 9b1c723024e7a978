import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { LayerfoldError } from "@layerfold/core";

/** Writes a whole file under a temporary name in its folder, then renames it: a reader never sees half of it. */
export async function writeWholeFile(file: string, content: string | Uint8Array): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const temporary = join(dirname(file), `.${basename(file)}.${process.pid}.partial`);
  try {
    await writeFile(temporary, content);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** `writeWholeFile` of JSON, indented. */
export function writeJson(file: string, value: unknown): Promise<void> {
  return writeWholeFile(file, `${JSON.stringify(value, null, 2)}\n`);
}

/** Puts a finished folder in the place of another, which goes. */
export async function replaceFolder(target: string, finished: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await rm(target, { recursive: true, force: true });
  await rename(finished, target);
}

/** Where a command writes to; nowhere with `--dry-run`. @throws OUTPUT_MISSING */
export function outputOf({
  out,
  dryRun,
}: {
  readonly out?: string;
  readonly dryRun?: boolean;
}): string | undefined {
  if (dryRun) return undefined;
  if (out !== undefined) return out;
  throw new LayerfoldError("OUTPUT_MISSING", "nowhere to write to", { wanted: "--out or --dry-run" });
}
