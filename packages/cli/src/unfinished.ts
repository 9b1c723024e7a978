import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { sealValue, unsealValue } from "@layerfold/checkpoint";
import { isLayerfoldError, LayerfoldError } from "@layerfold/core";
import { fileError, makeFolder, realPath, scratchFolder, writeWholeFile } from "@layerfold/disk";
import { platformFact } from "./manifest.js";
import type { Run } from "./run.js";
import { version } from "./version.js";

/** A result by what it depends on: made at most once, whatever runs are broken off between. Plain data and typed arrays. */
export type Known = <T>(key: unknown, make: () => Promise<T>) => Promise<T>;

/**
 * Results that are kept in a folder, each in a file of its own.
 * @param shared - what all of them depend on
 */
export function keptResults(folder: string, shared: unknown): Known {
  return async <T>(key: unknown, make: () => Promise<T>) => {
    const hash = createHash("sha256")
      .update(JSON.stringify([version, shared, key]))
      .digest("hex");
    const file = join(folder, hash.slice(0, 32));
    const before = await readFile(file).catch(() => undefined);
    // A damaged result is none: it is made again.
    const kept = before && (unsealValue(before) as { readonly value: T } | undefined);
    if (kept) return kept.value;
    const made = await make();
    await writeWholeFile(file, sealValue({ value: made }));
    return made;
  };
}

/** Where a command does its work. */
export interface Workplace {
  /** For the command's own files and folders. */
  readonly folder: string;
  readonly known: Known;
  /** Whether an earlier run of the same command had begun here. */
  readonly resumed: boolean;
}

/** Name of the file in a workplace that says whose it is. */
const ownerFile = "run";

/**
 * Does a command's work in the folder `OUT.unfinished`, and removes that in the end. A command that was interrupted, or that failed by no
 * fault of its input, leaves it, and goes on from there when it is run again; work of another command, of other arguments or of another version is thrown away.
 * @param out - absent: a folder for temporary files that never outlives the command
 * @param identity - all that the work depends on, as JSON
 * @throws OUTPUT_EXISTS where something else stands in the folder's place
 */
export async function resumable<T>(
  out: string | undefined,
  identity: unknown,
  work: (place: Workplace) => Promise<T>,
  run: Pick<Run, "terminal">,
): Promise<T> {
  const owner = createHash("sha256")
    .update(JSON.stringify([version, platformFact(), identity]))
    .digest("hex");
  const folder = out === undefined ? await scratchFolder("run") : `${await realPath(out)}.unfinished`;
  const resumed = await begin(folder, owner);
  if (resumed) run.terminal.say(`going on from ${folder}`);
  let keep = false;
  try {
    return await work({ folder, known: keptResults(join(folder, "known"), []), resumed });
  } catch (error) {
    keep = out !== undefined && mayPass(error);
    if (keep) run.terminal.say(`what is done lies in ${folder}; the same command goes on from there`);
    throw error;
  } finally {
    if (!keep) await rm(folder, { recursive: true, force: true });
  }
}

/** Makes the folder ready. @returns whether it holds this owner's work */
async function begin(folder: string, owner: string): Promise<boolean> {
  const none = (error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw fileError(error, folder);
  };
  const before = await readFile(join(folder, ownerFile), "utf8").catch(none);
  const names = (await readdir(folder).catch(none)) ?? [];
  const foreign = names.find((name) => !own.test(name));
  if (foreign !== undefined || (names.length > 0 && !/^[0-9a-f]{64}$/.test(before ?? ""))) {
    throw new LayerfoldError("OUTPUT_EXISTS", "something else stands where unfinished work would be kept", {
      got: foreign,
      where: folder,
    });
  }
  if (before === owner) return true;
  try {
    await rm(folder, { recursive: true, force: true });
    await makeFolder(folder);
  } catch (error) {
    throw fileError(error, folder);
  }
  await writeWholeFile(join(folder, ownerFile), owner);
  return false;
}

/** What commands keep in a workplace, and what a killed one may leave there. */
const own =
  /^(run|known|blocks(-.+)?|codes-.+|layers|dense|control|result|\..+\.layerfold-.+\.tmp|.+\.layerfold-.+\.old)$/;

/** Whether the same command may go well another time: all but bad input, and an output that stands in the way is soon moved. */
function mayPass(error: unknown): boolean {
  return !isLayerfoldError(error) || error.fault !== "input" || error.code === "OUTPUT_EXISTS";
}
