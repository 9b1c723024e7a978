// Runs in a process of its own: reads one folder after the other as it is told, and says what came of it.
import { mkdir, readdir, readlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { isLayerfoldError } from "@layerfold/core";
import type { Answer, Question } from "./reader-process.js";
import type { FuzzTarget } from "./target.js";

const [deadline, memory, probes] = process.argv.slice(2);

/** Odd while an input is read. */
const turn = new Int32Array(new SharedArrayBuffer(4));

// A reader may keep this thread busy for ever; the one that looks after it is another. It counts the time that the process worked, which
// does not depend on what else the machine does.
new Worker(
  `const { workerData: { turn, deadline, memory } } = require("node:worker_threads");
   let [before, start] = [0, 0];
   const end = (why) => {
     require("node:fs").writeSync(2, why + "\\n");
     process.kill(process.pid, "SIGKILL");
   };
   setInterval(() => {
     if (process.memoryUsage.rss() > memory) end("more memory than is allowed");
     const { user, system } = process.cpuUsage();
     const now = Atomics.load(turn, 0);
     if (now !== before || now % 2 === 0) [before, start] = [now, user + system];
     else if (user + system - start > 1000 * deadline) end("more time than is allowed");
   }, 20);`,
  { eval: true, workerData: { turn, deadline: Number(deadline), memory: Number(memory) } },
).unref();

// A reader's own frame may lie deep below those of a library.
Error.stackTraceLimit = 100;

let stray: unknown;
process.on("uncaughtException", (error) => {
  stray = error;
});
process.on("unhandledRejection", (error) => {
  stray = error;
});

const known: readonly FuzzTarget[] =
  probes === "probes"
    ? (await import("./probes.test.fixture.js")).probes
    : (await import("./targets/index.js")).targets;

process.on("message", async (question: Question) => {
  const target = known.find(({ id }) => id === question.target)!;
  if (question.out !== undefined) Atomics.add(turn, 0, 1);
  const answer = await answerTo(target, question).catch((error): Answer => failure(error));
  if (question.out !== undefined) Atomics.add(turn, 0, 1);
  process.send!(answer);
});
process.on("disconnect", () => process.exit());
process.send!({ kind: "ready", targets: known.map(({ id }) => id) } satisfies Answer);

async function answerTo(target: FuzzTarget, { folder, out }: Question): Promise<Answer> {
  if (out === undefined) {
    const starts = await target.starts(folder);
    for (const [index, files] of starts.entries()) {
      for (const [name, bytes] of files) {
        const file = join(folder, "starts", `${index}`, name);
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, bytes);
      }
    }
    const { changes = () => true } = target;
    return { kind: "made", changing: starts.map((files) => [...files.keys()].filter(changes).sort()) };
  }
  stray = undefined;
  let answer: Answer;
  try {
    await target.read(folder, out);
    answer = { kind: "result" };
  } catch (error) {
    answer =
      isLayerfoldError(error) && error.code !== "INTERNAL"
        ? { kind: "refusal", code: error.code }
        : failure(error);
  }
  // Promises that nobody waited for fail a turn later.
  await new Promise((resolve) => setImmediate(resolve));
  if (answer.kind === "failure") return answer;
  if (stray !== undefined) return failure(stray, "nobody waited for ");
  const open = await filesOpenIn(folder);
  return open ? { kind: "failure", what: "a file is left open", detail: open } : answer;
}

function failure(error: unknown, how = ""): Answer {
  const { name, message, stack = "" } = error instanceof Error ? error : new Error(`thrown: ${error}`);
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line) && !line.includes("node:internal"));
  const place = (frames.find((line) => /packages\/[a-z]+\/src/.test(line)) ?? frames[0] ?? "").trim();
  // Where it came from tells failures apart, not what the message quotes.
  const what = `${how}${name} ${place.replace(/\(?\S*packages\//, "")}`;
  return {
    kind: "failure",
    what,
    detail: `${name}: ${message.slice(0, 300)}\n${frames.slice(0, 8).join("\n")}`,
  };
}

/** A file of the folder that is still open; only Linux tells. */
async function filesOpenIn(folder: string): Promise<string | undefined> {
  for (const descriptor of await readdir("/proc/self/fd").catch(() => [])) {
    const file = await readlink(`/proc/self/fd/${descriptor}`).catch(() => "");
    if (file.startsWith(folder)) return file;
  }
  return undefined;
}
