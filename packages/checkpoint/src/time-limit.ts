import { createContext, Script } from "node:vm";
import type { LayerfoldError } from "@layerfold/core";

const room: { work?: (() => unknown) | undefined } = createContext({});
const call = new Script("work()");

/**
 * Runs what a file decides how long it takes: a regular expression that backtracks, a pattern without end. After so many seconds it is broken
 * off, wherever it is (V8 breaks off regular expressions too). Cost: about 0.1 ms a call.
 *
 * @param work - synchronous; what it leaves half done must not be used again
 * @throws what `expired` makes, and whatever `work` throws
 */
export function withinTime<T>(seconds: number, work: () => T, expired: () => LayerfoldError): T {
  room.work = work;
  try {
    return call.runInContext(room, { timeout: Math.ceil(1000 * seconds) }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException | null)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT") throw expired();
    throw error;
  } finally {
    room.work = undefined;
  }
}
