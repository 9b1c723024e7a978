import { readFileSync } from "node:fs";

/** When a process of this machine began, in the kernel's ticks since the machine did; undefined where the system does not tell. */
export function startOf(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Field 22 (proc(5)); the name in field 2 may hold anything, a bracket ends it.
    return Number(status.slice(status.lastIndexOf(")") + 2).split(" ")[19]);
  } catch {
    return undefined;
  }
}

/** Whether the process that had this id, and began then, still runs; where its beginning cannot be told, whether one of that id does. */
export function isRunning(pid: number, start: number | undefined): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const now = startOf(pid);
  return now === undefined || start === undefined || now === start;
}
