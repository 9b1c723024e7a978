import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const bin = fileURLToPath(new URL("../bin/layerfold.js", import.meta.url));

/** What a process said in the end; `code` is null where it was killed. */
export interface Ended {
  readonly code: number | null;
  readonly result: any;
  readonly stderr: string;
}

/** The command line as it was built, in a process of its own, with `--json`. */
export function startLayerfold(...args: readonly string[]) {
  const child = spawn(process.execPath, [bin, ...args, "--json"], { stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => {
    stdout += text;
  });
  child.stderr.on("data", (text) => {
    stderr += text;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on("close", (code) => resolve({ code, result: stdout ? JSON.parse(stdout) : undefined, stderr }));
  });
  return { ended, pid: child.pid, kill: () => child.kill("SIGKILL") };
}
