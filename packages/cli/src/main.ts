import { isLayerfoldError } from "@layerfold/core";
import { CommanderError } from "commander";
import { createProgram } from "./program.js";

/** Exit codes of the command line. */
const exitCodes = { done: 0, failed: 1, wrongUsage: 2, interrupted: 130 } as const;

/**
 * Runs the command line.
 *
 * @param args - what stands after `layerfold`
 * @param signal - interrupts it at the end of the unit of work it is at
 * @returns 0 done, 1 failed, 2 wrong usage or bad input, 130 interrupted
 */
export async function main(
  args: readonly string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<number> {
  try {
    await createProgram(signal).parseAsync([...args], { from: "user" });
    return exitCodes.done;
  } catch (error) {
    return exitCodeOf(error, args.includes("--json"));
  }
}

function exitCodeOf(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) {
    // Commander has printed its own message.
    return error.exitCode === 0 ? exitCodes.done : exitCodes.wrongUsage;
  }
  if (isLayerfoldError(error)) {
    const { code, message, wanted, got, where } = error;
    process.stderr.write(
      json
        ? `${JSON.stringify({ error: { code, message, wanted, got, where } })}\n`
        : `error ${code}: ${message}\n`,
    );
    if (error.fault === "interrupted") return exitCodes.interrupted;
    return error.fault === "input" ? exitCodes.wrongUsage : exitCodes.failed;
  }
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  return exitCodes.failed;
}
