import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const packages = fileURLToPath(new URL("../../", import.meta.url));

/** Sources, not builds: as the tests have it. */
const alias = Object.fromEntries(
  readdirSync(packages)
    .filter((name) => name !== "cli")
    .map((name) => [`@layerfold/${name}`, `${packages}${name}/src/index.ts`]),
);
const jiti = join(
  dirname(createRequire(import.meta.url).resolve("jiti/package.json")),
  "lib",
  "jiti-cli.mjs",
);

/** The command line in a process of its own, with `--json`. */
export function startLayerfold(...args: string[]) {
  const child = spawn(
    process.execPath,
    [jiti, join(packages, "cli", "test", "layerfold.ts"), ...args, "--json"],
    { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, JITI_ALIAS: JSON.stringify(alias) } },
  );
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => {
    stdout += text;
  });
  child.stderr.on("data", (text) => {
    stderr += text;
  });
  /** `code` is null where it was killed. */
  const ended = new Promise<{ code: number | null; result: any; stderr: string }>((resolve) => {
    child.on("close", (code) => resolve({ code, result: stdout ? JSON.parse(stdout) : undefined, stderr }));
  });
  return { ended, kill: () => child.kill("SIGKILL") };
}
