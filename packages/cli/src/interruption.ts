import { once } from "node:events";
import { Worker } from "node:worker_threads";

/**
 * Runs in a thread of its own. A process that has a listener for SIGINT is told of it by its event loop, so never while it computes; a
 * script that runs with `breakOnSigint` is broken off at once. This one only waits. Afterwards the signal has no listener any more: the
 * next one ends the process as it ends every other, whatever that is doing.
 */
const watch = `
const { parentPort } = require("node:worker_threads");
const { runInThisContext } = require("node:vm");
try {
  parentPort.postMessage("watching");
  runInThisContext("Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)", { breakOnSigint: true });
} catch (error) {
  if (error.code !== "ERR_SCRIPT_EXECUTION_INTERRUPTED") throw error;
  parentPort.postMessage("interrupted");
}`;

/**
 * Listens for Ctrl-C and SIGTERM from now on: the first aborts the signal, and what runs ends at the end of its unit of work; the second
 * ends the process, for Ctrl-C even one that computes without an end. To be called once, by a program, not by a library.
 */
export async function listenForInterruption(): Promise<AbortSignal> {
  const interruption = new AbortController();
  // Without a listener the second one ends the process.
  process.once("SIGTERM", () => interruption.abort());
  const watcher = new Worker(watch, {
    eval: true,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 16 },
  });
  await once(watcher, "message");
  watcher.once("message", () => interruption.abort());
  watcher.unref();
  return interruption.signal;
}
