import { access, constants, mkdir, readdir, realpath, rename, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { fileError } from "./file-error.js";
import { foreignFiles, recordMadeFiles } from "./made-files.js";
import { isWithin, makeFolder, realPath } from "./real-path.js";
import { errorOfPath, sweepLeftovers, temporaryBeside } from "./temporary.js";
import { syncFolder, syncTree } from "./write-file.js";

/** What may be written where. */
export interface OutputRules {
  /** Replace a folder that is not empty, if all that stands in it was written by us. */
  readonly force?: boolean | undefined;
  /** Files and folders that are read: an output that is one of them, holds one or lies in one is refused. */
  readonly inputs?: readonly string[] | undefined;
}

/**
 * Whether an output folder may be written, before any work is done. It may where it is not there, or empty, or where `force` is set and every
 * file in it is one that we wrote (`.layerfold.json` lists them; of a folder that an earlier version made: that its manifest's command is
 * known to write). What killed processes left beside it is swept away first.
 *
 * @returns its real path: a symbolic link is followed, not replaced
 * @throws OUTPUT_EXISTS; OUTPUT_OVERLAPS_INPUT; OUTPUT_IN_USE where it is the working folder, holds that, or is a mount point; `fileError`'s
 * codes where nothing can be written there
 */
export async function checkOutputFolder(directory: string, rules: OutputRules = {}): Promise<string> {
  try {
    const target = await realPath(directory);
    await refuseInputs(target, directory, rules.inputs);
    await sweepLeftovers(dirname(target));
    await checkWritable(dirname(target));
    const there = await stat(target).catch(missing);
    if (!there) return target;
    await refuseFixed(target, directory, there.dev);
    await refuseOccupied(target, directory, rules.force ?? false);
    return target;
  } catch (error) {
    throw fileError(error, directory);
  }
}

/**
 * Writes a folder whole and durably: in a temporary folder beside it, which gets its name when all that is in it is on the disk, and is
 * removed on error. A folder of that name is always complete.
 *
 * @param fill - writes into the folder that it is given
 * @throws what `checkOutputFolder` and `fill` throw, and `fileError`'s codes
 */
export async function writeFolder<T>(
  directory: string,
  rules: OutputRules,
  fill: (folder: string) => Promise<T>,
): Promise<T> {
  const target = await checkOutputFolder(directory, rules);
  const temporary = temporaryBeside(target);
  try {
    await makeFolder(dirname(target));
    await mkdir(temporary);
    const result = await fill(temporary);
    await putFolder(target, temporary, rules);
    return result;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw errorOfPath(fileError(error, directory), temporary, directory);
  }
}

/**
 * Puts a finished folder, on the same disk, in its place, durably; every file in it is listed as written by us. What stood there is moved
 * aside first and removed last: whenever the process is killed one of the two is there, and `checkOutputFolder` puts the old one back where
 * neither had the name.
 *
 * @throws OUTPUT_EXISTS where what stands there may not be replaced, though it may not have been there when the work began
 */
export async function putFolder(
  directory: string,
  finished: string,
  { force = false }: Pick<OutputRules, "force"> = {},
): Promise<void> {
  try {
    const target = await realPath(directory);
    const parent = dirname(target);
    await recordMadeFiles(finished);
    await syncTree(finished);
    await makeFolder(parent);
    const there = await stat(target).catch(missing);
    if (there) await refuseOccupied(target, directory, force);
    if (!there || (await readdir(target)).length === 0) {
      if (there) await rmdir(target);
      await rename(finished, target);
      await syncFolder(parent);
      return;
    }
    const old = temporaryBeside(target, "old");
    await rename(target, old);
    try {
      await rename(finished, target);
    } catch (error) {
      await rename(old, target);
      throw error;
    }
    await syncFolder(parent);
    await rm(old, { recursive: true, force: true });
  } catch (error) {
    throw fileError(error, directory);
  }
}

/** @throws OUTPUT_OVERLAPS_INPUT where a real path is an input's, above it or in it, as they lie or where their links lead to */
export async function refuseInputs(
  target: string,
  output: string,
  inputs: readonly string[] = [],
): Promise<void> {
  for (const input of inputs) {
    for (const path of await placesOf(input)) {
      if (!isWithin(path, target) && !isWithin(target, path)) continue;
      const relation =
        path === target ? "is an input" : isWithin(path, target) ? "holds an input" : "lies in an input";
      throw new LayerfoldError("OUTPUT_OVERLAPS_INPUT", `the output ${relation}, which stays as it is`, {
        wanted: "another place",
        got: input,
        where: output,
      });
    }
  }
}

/** Real paths of an input and of the files in it: in a hub's cache, weights are links to somewhere else. */
async function placesOf(input: string): Promise<string[]> {
  const own = await realPath(input);
  const names = await readdir(own).catch(() => []);
  const files = await Promise.all(names.map((name) => realPath(join(own, name))));
  return [own, ...files.filter((file) => !isWithin(file, own))];
}

async function refuseOccupied(target: string, output: string, force: boolean): Promise<void> {
  if ((await readdir(target)).length === 0) return;
  if (!force) {
    throw new LayerfoldError("OUTPUT_EXISTS", "the output folder is not empty; --force replaces it", {
      where: output,
    });
  }
  const foreign = await foreignFiles(target);
  if (foreign.length === 0) return;
  const named = foreign.sort().slice(0, 3).join(", ");
  const more = foreign.length > 3 ? ` and ${foreign.length - 3} more` : "";
  throw new LayerfoldError(
    "OUTPUT_EXISTS",
    "the output folder holds what layerfold did not write, or an earlier version did not list; --force replaces only what it wrote",
    { wanted: "another folder, or these moved away", got: `${named}${more}`, where: output },
  );
}

/** A folder that a process stands in, or that another disk is mounted on, cannot be replaced by another. */
async function refuseFixed(target: string, output: string, device: number): Promise<void> {
  const holds = isWithin(await realpath(process.cwd()), target);
  if (!holds && device === (await stat(dirname(target))).dev) return;
  throw new LayerfoldError(
    "OUTPUT_IN_USE",
    holds
      ? "the output folder is the working folder or holds it, and cannot be put in place whole"
      : "the output folder is a mount point, and cannot be put in place whole",
    { wanted: "a folder in it, or another", where: output },
  );
}

/** Fails as writing would, in the nearest folder that is there. @throws what the file system says */
export async function checkWritable(folder: string): Promise<void> {
  const there = await stat(folder).catch(missing);
  if (!there) return checkWritable(dirname(folder));
  if (!there.isDirectory()) throw Object.assign(new Error(folder), { code: "ENOTDIR" });
  await access(folder, constants.W_OK);
}

function missing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
