import { stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { LayerfoldError } from "@layerfold/core";

/**
 * Whether a folder's disk has room for so many bytes.
 * @throws DISK_FULL with what is needed and what is free
 */
export async function checkFreeSpace(folder: string, needed: number): Promise<void> {
  const { bavail, bsize, blocks } = await statfs(folder);
  const free = bavail * bsize;
  // Some disks do not say how large they are.
  if (blocks === 0 || needed <= free) return;
  const size = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  throw new LayerfoldError("DISK_FULL", "there is no room for what will be written", {
    wanted: `about ${size(needed)}`,
    got: `${size(free)} free`,
    where: folder,
    fault: "environment",
  });
}

/** The folder, or the lowest above it that is there. */
export async function nearestFolder(folder: string): Promise<string> {
  return (await stat(folder).catch(() => undefined)) ? folder : nearestFolder(dirname(folder));
}
