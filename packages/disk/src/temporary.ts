import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { lstat, mkdir, readdir, rename, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { isRunning, startOf } from "./process.js";
import { makeFolder } from "./real-path.js";

/**
 * Temporary names: `.NAME.layerfold-HOST-PID-START-RANDOM.tmp` for what is being made, `NAME.layerfold-….old` for what gives way to it. No
 * other process or machine has them, and one can tell from them whether their process still runs.
 */
const pattern = /^\.?(.+)\.layerfold-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{12}\.(tmp|old)$/;

/** Whether a name in a folder is one that `temporaryBeside` gave. */
export function isTemporaryName(name: string): boolean {
  return pattern.test(name);
}

/** A new temporary name beside a path, which may be renamed to the path. */
export function temporaryBeside(path: string, kind: "tmp" | "old" = "tmp"): string {
  const owner = [hostTag(), process.pid, startOf(process.pid) ?? 0, randomBytes(6).toString("hex")].join("-");
  // What stood there before stays visible, so that one finds it should the machine stop at that moment.
  const hidden = kind === "tmp" ? "." : "";
  return join(dirname(path), `${hidden}${basename(path)}.layerfold-${owner}.${kind}`);
}

/** An error as whoever knows no temporary names reads it: with the name that was to be given in the end. */
export function errorOfPath(error: unknown, temporary: string, path: string): unknown {
  if (!(error instanceof LayerfoldError) || !error.where?.includes(temporary)) return error;
  const { code, reason, wanted, got, where, fault } = error;
  return new LayerfoldError(code, reason, {
    wanted,
    got,
    where: where.replace(temporary, path),
    fault,
    cause: error,
  });
}

/**
 * A new folder for a process's own temporary files. What killed processes left in the same place goes.
 * @param parent - default: the system's folder for temporary files
 */
export async function scratchFolder(label: string, parent = tmpdir()): Promise<string> {
  await makeFolder(parent);
  await sweepLeftovers(parent);
  const folder = temporaryBeside(join(parent, label));
  await mkdir(folder);
  return folder;
}

/**
 * Removes the temporary files and folders that processes of this machine left in a folder when they were killed; whatever bears no name of
 * our making, or belongs to a process that runs or to another machine, stays. Where a process was killed between moving an old output aside
 * and putting the new one in its place, the old one is put back.
 */
export async function sweepLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const [, label, host, pid, start, kind] = pattern.exec(name) ?? [];
    if (label === undefined || host !== hostTag() || isRunning(Number(pid), Number(start) || undefined))
      continue;
    const leftover = join(folder, name);
    const target = join(folder, label);
    // Another process may sweep at the same time, or the rights may be missing: then it stays.
    const gone = () => undefined;
    if (kind === "old" && !(await lstat(target).catch(gone))) await rename(leftover, target).catch(gone);
    else await rm(leftover, { recursive: true, force: true }).catch(gone);
  }
}

const swept = new Set<string>();

/** `sweepLeftovers`, once per process and folder. */
export async function sweepOnce(folder: string): Promise<void> {
  if (swept.has(folder)) return;
  swept.add(folder);
  await sweepLeftovers(folder);
}

let tag: string | undefined;

/** Of this machine, or of a container on it: where it is the same, process ids mean the same. */
function hostTag(): string {
  const known = (read: () => string) => {
    try {
      return read();
    } catch {
      return "";
    }
  };
  tag ??= createHash("sha256")
    .update(JSON.stringify([hostname(), process.platform]))
    .update(known(() => readFileSync("/etc/machine-id", "utf8")))
    .update(known(() => readlinkSync("/proc/self/ns/pid")))
    .digest("hex")
    .slice(0, 8);
  return tag;
}
