import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { LayerfoldError } from "@layerfold/core";

/**
 * Looks at what is to be opened: opening a FIFO waits until somebody writes to it, a device may have no end, and neither can be read twice,
 * as a fingerprint needs. Files pass, links to files too, and folders, of which the file system says by itself that they are none.
 * @throws FILE_NOT_REGULAR, and what the file system says
 */
export async function requireRegularFile(file: string): Promise<Stats> {
  const stats = await stat(file);
  if (stats.isFile() || stats.isDirectory()) return stats;
  const got = stats.isFIFO() ? "a FIFO" : stats.isSocket() ? "a socket" : "a device";
  throw new LayerfoldError("FILE_NOT_REGULAR", "only regular files are read; write it to one first", {
    got,
    where: file,
  });
}
