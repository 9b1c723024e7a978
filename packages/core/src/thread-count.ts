import { availableParallelism } from "node:os";
import { LayerfoldError } from "./error.js";

/**
 * Threads that this process may use: the environment variable LAYERFOLD_THREADS, which whoever starts several workers on one machine sets for
 * each; else all cores.
 * @throws OPTION_INVALID
 */
export function threadCount(): number {
  const text = process.env.LAYERFOLD_THREADS;
  if (text === undefined || text === "") return availableParallelism();
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 1) return count;
  throw new LayerfoldError("OPTION_INVALID", "not a number of threads", {
    wanted: "an integer of at least 1",
    got: text,
    where: "LAYERFOLD_THREADS",
  });
}
