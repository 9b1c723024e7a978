import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { jobScript } from "./job-script.js";

const folder = mkdtempSync(join(tmpdir(), "layerfold-job-script-"));
afterAll(() => rmSync(folder, { recursive: true }));

const program = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/bash\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
};
program("scontrol", 'echo "scontrol $*"');
const told = program("worker's own", 'printf "<%s>" "$@"; echo " threads $LAYERFOLD_THREADS $SITE"');
const patient = program(
  "patient",
  'trap "echo ending; exit 0" TERM; echo ready; while :; do sleep 0.05; done',
);
const failing = program("failing", "exit 3");

/** What an element of index 5 says in the end. @param warn - sends the warning once the worker is ready */
async function element(command: string, { warn = false, requeues = 2, restarts = 0 } = {}) {
  const script = jobScript({
    ...{ stage: "abc", array: { offset: 1000 }, location: "/a store/$HOME", command: [command] },
    options: { cpus: 3, memory: "1000", setup: ["export SITE='a b'"], requeues },
  });
  const env = {
    ...{ ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}` },
    ...{ SLURM_ARRAY_JOB_ID: "17", SLURM_ARRAY_TASK_ID: "5", SLURM_RESTART_COUNT: `${restarts}` },
  };
  const child = spawn("bash", [], { env, stdio: ["pipe", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (part) => {
    text += part;
    if (warn && text.includes("ready")) child.kill("SIGUSR1");
    if (text.includes("ready")) warn = false;
  });
  child.stdin.end(script);
  const code = await new Promise((resolve) => child.on("close", resolve));
  return { code, lines: text.trim().split("\n").slice(1) };
}

it("hands the worker its rank, its memory and its threads, whatever stands in the paths", async () => {
  const arguments_ = "<--store></a store/$HOME><--stage><abc><--memory><943718400><--rank><1005>";
  expect(await element(told)).toEqual({ code: 0, lines: [`${arguments_} threads 3 a b`] });
});

it("ends as the worker does", async () => {
  expect(await element(failing)).toEqual({ code: 3, lines: [] });
});

it("warned, it ends the worker and goes back into the queue, but not for ever", async () => {
  expect(await element(patient, { warn: true })).toEqual({
    code: 0,
    lines: ["ready", "ending", "the time is nearly up: back into the queue", "scontrol requeue 17_5"],
  });
  expect(await element(patient, { warn: true, restarts: 2 })).toEqual({
    code: 1,
    lines: ["ready", "ending", "the time limit was met after 2 returns to the queue"],
  });
});
