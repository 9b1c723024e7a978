import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { LayerfoldError, type ReportEvent, throwIfAborted } from "@layerfold/core";
import type { TaskPlace, TaskWorker } from "@layerfold/pipeline";
import type { Outcome } from "@layerfold/tasks";
import type { ToChild, ToParent } from "./task-process.js";

export interface TaskProcesses extends Pick<TaskWorker, "attempt"> {
  close(): Promise<void>;
}

/** Of a process that is told to end, until it is killed. */
const graceSeconds = 10;

/**
 * Processes of which each tries one task at a time, as many as are needed at once. A task keeps its process busy without a break, for minutes;
 * what answers the queue meanwhile has to be another.
 * @param program - calls `serveTasks`
 */
export function taskProcesses(
  program: URL,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): TaskProcesses {
  const all = new Set<ChildProcess>();
  const free: ChildProcess[] = [];

  const start = () => {
    const child = fork(fileURLToPath(program), args, {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      env: { ...process.env, ...environment },
    });
    all.add(child);
    child.once("exit", () => {
      all.delete(child);
      if (free.includes(child)) free.splice(free.indexOf(child), 1);
    });
    return child;
  };

  return {
    async attempt(place, { signal, report }) {
      throwIfAborted(signal);
      const child = free.pop() ?? start();
      const outcome = await tried(child, place, signal, report);
      free.push(child);
      return outcome;
    },
    async close() {
      await Promise.all(
        [...all].map(async (child) => {
          const exit = once(child, "exit");
          if (child.connected) child.disconnect();
          const killer = setTimeout(() => child.kill("SIGKILL"), graceSeconds * 1000);
          await exit;
          clearTimeout(killer);
        }),
      );
    },
  };
}

/** @throws TASK_PROCESS_ENDED; what the task's process throws */
function tried(
  child: ChildProcess,
  place: TaskPlace,
  signal: AbortSignal | undefined,
  report: ((event: ReportEvent) => void) | undefined,
): Promise<Outcome | "withdrawn"> {
  return new Promise((resolve, reject) => {
    const tell = (message: ToChild) => child.connected && child.send(message);
    const abort = () => tell({ abort: true });
    const ended = (code: number | null, by: NodeJS.Signals | null) => {
      done();
      reject(
        new LayerfoldError("TASK_PROCESS_ENDED", "the process that made a task ended", {
          got: by ?? `exit code ${code}`,
          where: `process ${child.pid}`,
          fault: "environment",
        }),
      );
    };
    const heard = (message: ToParent) => {
      if ("event" in message) return report?.(message.event);
      done();
      if ("outcome" in message) return resolve(message.outcome);
      const { code, reason, ...details } = message.error;
      reject(new LayerfoldError(code, reason, details));
    };
    const failed = (error: Error) => {
      done();
      reject(error);
    };
    const done = () => {
      signal?.removeEventListener("abort", abort);
      child.off("message", heard).off("exit", ended).off("error", failed);
    };
    child.on("message", heard).on("exit", ended).on("error", failed);
    signal?.addEventListener("abort", abort, { once: true });
    tell({ attempt: place });
  });
}
