import { readFile, writeFile } from "node:fs/promises";

/** Linux counts the largest resident size anew; elsewhere the process's own maximum stands. */
export async function resetPeakMemory(): Promise<void> {
  await writeFile("/proc/self/clear_refs", "5").catch(() => undefined);
}

/** Largest resident size of this process since it was last counted anew, bytes. */
export async function peakMemory(): Promise<number> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const kibibytes = /VmHWM:\s+(\d+) kB/.exec(status)?.[1];
  return 1024 * (kibibytes === undefined ? process.resourceUsage().maxRSS : Number(kibibytes));
}
