import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/** A process of its own that listens and then does as it is told. */
function start(work: string) {
  const program = `
    import { createJiti } from "jiti";
    import { writeSync } from "node:fs";
    import { open } from "node:fs/promises";
    import { setTimeout as sleep } from "node:timers/promises";
    const { listenForInterruption } = await createJiti(import.meta.url).import("./interruption.js");
    const signal = await listenForInterruption();
    const say = (line) => writeSync(1, line + "\\n");
    say("ready");
    ${work}`;
  const directory = fileURLToPath(new URL(".", import.meta.url));
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { cwd: directory });
  let said = "";
  child.stdout.on("data", (text) => {
    said += text;
  });
  child.stderr.on("data", (text) => {
    said += text;
  });
  const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(signal ?? code)));
  return {
    ended,
    said: () => said,
    async tell(signal: NodeJS.Signals) {
      child.kill(signal);
      await sleep(300);
    },
    running: () => child.exitCode === null && child.signalCode === null,
    async says(line: string) {
      while (!said.includes(line)) {
        if (child.exitCode !== null) throw new Error(said);
        await sleep(20);
      }
      // The listener is there, but may be still on its way to its wait.
      await sleep(300);
    },
  };
}

describe.skipIf(process.platform === "win32")("listenForInterruption", { concurrent: true }, () => {
  it("ends a computation without an end at the second Ctrl-C", async () => {
    const run = start("for (;;);");
    await run.says("ready");
    await run.tell("SIGINT");
    expect(run.running()).toBe(true);
    await run.tell("SIGINT");
    expect(await run.ended).toBe("SIGINT");
  });

  it("ends one that waits for a file to open at the second Ctrl-C", async () => {
    const directory = await mkdtemp(join(tmpdir(), "layerfold-fifo-"));
    const fifo = join(directory, "fifo");
    execFileSync("mkfifo", [fifo]);
    const run = start(`await open(${JSON.stringify(fifo)});`);
    await run.says("ready");
    await run.tell("SIGINT");
    expect(run.running()).toBe(true);
    await run.tell("SIGINT");
    expect(await run.ended).toBe("SIGINT");
    await rm(directory, { recursive: true });
  });

  it.each(["SIGINT", "SIGTERM"] as const)(
    "lets a unit of work end after the first %s, and no more after the second",
    async (signal) => {
      const work = "while (!signal.aborted) await sleep(10); say('aborted'); await sleep(100_000);";
      const run = start(work);
      await run.says("ready");
      await run.tell(signal);
      await run.says("aborted");
      expect(run.running()).toBe(true);
      await run.tell(signal);
      expect(await run.ended).toBe(signal);
    },
  );

  it("does not keep a process that is done", async () => {
    const run = start("await sleep(200); say('done'); process.exitCode = 7;");
    expect(await run.ended).toBe(7);
    expect(run.said()).toBe("ready\ndone\n");
  });
});
