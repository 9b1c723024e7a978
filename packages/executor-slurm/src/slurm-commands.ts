import { spawn } from "node:child_process";
import { LayerfoldError } from "@layerfold/core";

/** What a program said, and how it ended. */
interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Elements of the user's job arrays that the cluster knows of, by `JOB_INDEX`. */
export type Queue = ReadonlyMap<string, string>;

/**
 * Submits a job array.
 * @param script - what its elements run
 * @returns the job's number
 * @throws SLURM_MISSING, SLURM_REFUSED
 */
export async function submit(args: readonly string[], script: string): Promise<string> {
  const { code, stdout, stderr } = await ask("sbatch", ["--parsable", ...args], script);
  // With several clusters: JOB;CLUSTER.
  const job = /^\d+/.exec(stdout.trim())?.[0];
  if (code === 0 && job !== undefined) return job;
  throw refused("sbatch", stderr || stdout);
}

/** Indices of a job array are below it. @throws SLURM_MISSING, SLURM_REFUSED */
export async function maxArraySize(): Promise<number> {
  const { code, stdout, stderr } = await ask("scontrol", ["show", "config"]);
  if (code !== 0) throw refused("scontrol show config", stderr || stdout);
  const size = parseMaxArraySize(stdout);
  if (size !== undefined && size > 1) return size;
  throw refused(
    "scontrol show config",
    size === undefined ? "no MaxArraySize" : `no job arrays: MaxArraySize is ${size}`,
  );
}

/** @param config - what `scontrol show config` prints */
export function parseMaxArraySize(config: string): number | undefined {
  const text = /^MaxArraySize\s*=\s*(\d+)\s*$/m.exec(config)?.[1];
  return text === undefined ? undefined : Number(text);
}

/** What waits, runs and ended a short while ago. @throws SLURM_MISSING, SLURM_REFUSED */
export async function queue(): Promise<Queue> {
  const args = ["--noheader", "--array", "--states=all", "--format=%F_%K|%T"];
  const { code, stdout, stderr } = await ask("squeue", [...args, `--user=${process.getuid?.() ?? ""}`]);
  if (code !== 0) throw refused("squeue", stderr || stdout);
  return parseQueue(stdout);
}

/** @param text - lines of `JOB_INDEX|STATE` */
export function parseQueue(text: string): Queue {
  return new Map(
    text.split("\n").flatMap((line) => {
      const match = /^\s*(\d+_\d+)\|([A-Z_]+)\s*$/.exec(line);
      return match ? [[match[1], match[2]] as const] : [];
    }),
  );
}

/**
 * Cancels jobs, or what of them waits; one that has ended is no error.
 * @returns whether it could be asked for
 */
export async function cancelJobs(jobs: readonly string[], which: "all" | "waiting"): Promise<boolean> {
  if (jobs.length === 0) return true;
  const states = which === "waiting" ? ["--state=PENDING"] : [];
  const said = await ask("scancel", [...states, "--quiet", ...jobs]).catch(() => undefined);
  return said?.code === 0;
}

const over = new Set([
  "BOOT_FAIL",
  "CANCELLED",
  "COMPLETED",
  "DEADLINE",
  "FAILED",
  "NODE_FAIL",
  "OUT_OF_MEMORY",
  "PREEMPTED",
  "REVOKED",
  "TIMEOUT",
]);

/** Whether an element will do nothing more. @param state - as `squeue` has it; undefined where it is not listed */
export function hasEnded(state: string | undefined): boolean {
  return state === undefined || over.has(state);
}

async function ask(program: string, args: readonly string[], input = ""): Promise<Said> {
  try {
    return await new Promise((resolve, reject) => {
      // In a group of its own: Ctrl-C would end it between the cluster's taking a job and its telling us.
      const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], detached: true });
      let [stdout, stderr] = ["", ""];
      child.stdout.setEncoding("utf8").on("data", (text) => {
        stdout += text;
      });
      child.stderr.setEncoding("utf8").on("data", (text) => {
        stderr += text;
      });
      child.on("error", reject);
      child.on("close", (code) => resolve({ code, stdout, stderr }));
      // It may have ended without reading it.
      child.stdin.on("error", () => undefined);
      child.stdin.end(input);
    });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw refused(program, (cause as Error).message);
    throw new LayerfoldError("SLURM_MISSING", "this machine has no Slurm", {
      wanted: "one from which jobs are submitted",
      got: `no ${program} on the PATH`,
      fault: "environment",
      cause,
    });
  }
}

function refused(program: string, said: string): LayerfoldError {
  const lines = said
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return new LayerfoldError("SLURM_REFUSED", `${program}: ${lines.join("; ") || "no answer"}`, {
    fault: "environment",
  });
}
