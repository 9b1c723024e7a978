import { copyFile, link, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { isLayerfoldError, LayerfoldError } from "@layerfold/core";
import { putFolder, temporaryBeside } from "@layerfold/disk";
import type { Run } from "../run.js";

export interface PutOptions {
  readonly force?: boolean;
  /** Where the tasks lie. */
  readonly folder: string;
}

/**
 * Makes a result in the work folder and puts it in its place, whole. Where that fails (a mount point, a missing right) the result stays, and the
 * error says where it lies.
 *
 * @param fill - writes into the folder that it is given
 * @throws what `fill` and `putFolder` throw
 */
export async function putResult(
  out: string,
  { force, folder }: PutOptions,
  { work }: Pick<Run, "work">,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  // A work folder of one's own choice may lie on another disk.
  const finished = work === undefined ? join(folder, "result") : temporaryBeside(out);
  await rm(finished, { recursive: true, force: true });
  await mkdir(finished);
  await fill(finished);
  await putFolder(out, finished, { force }).catch(async (error) => {
    if (!isLayerfoldError(error)) throw error;
    const { code, reason, wanted, got, where, fault } = error;
    throw new LayerfoldError(
      code,
      `${reason}; the finished result lies in ${finished}, and \`mv ${finished} PLACE\` puts it elsewhere`,
      { wanted, got, where, fault, cause: error },
    );
  });
}

/** Links a folder's files, or where that cannot be copies them: what is linked stays in the store, and is not there twice. */
export async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyTree(source, target);
    else await link(source, target).catch(() => copyFile(source, target));
  }
}
