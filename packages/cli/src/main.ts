import { isLayerfoldError, type LayerfoldError } from "@layerfold/core";
import { fileError, isFileError } from "@layerfold/disk";
import { CommanderError } from "commander";
import { internalError } from "./internal-error.js";
import { createProgram } from "./program.js";

/** Exit codes of the command line. */
const exitCodes = { done: 0, failed: 1, wrongUsage: 2, gateBroken: 3, interrupted: 130 } as const;

/**
 * Runs the command line.
 *
 * @param args - what stands after `layerfold`
 * @param signal - interrupts it at the end of the unit of work it is at
 * @returns 0 done, 1 failed, 2 wrong usage or bad input, 3 a gate is broken, 130 interrupted
 */
export async function main(
  args: readonly string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<number> {
  // What nobody waits for ends the command as any other error does.
  const unawaited = (error: unknown) => process.exit(exitCodeOf(error, args.includes("--json")));
  process.on("uncaughtException", unawaited);
  process.on("unhandledRejection", unawaited);
  try {
    await createProgram(signal).parseAsync([...args], { from: "user" });
    return exitCodes.done;
  } catch (error) {
    return exitCodeOf(error, args.includes("--json"));
  } finally {
    process.off("uncaughtException", unawaited);
    process.off("unhandledRejection", unawaited);
  }
}

function exitCodeOf(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) {
    // Commander has printed its own message.
    return error.exitCode === 0 ? exitCodes.done : exitCodes.wrongUsage;
  }
  const { code, message, wanted, got, where, fault } = codedError(error);
  process.stderr.write(
    json
      ? `${JSON.stringify({ error: { code, message, wanted, got, where } })}\n`
      : `error ${code}: ${message}\n`,
  );
  if (code === "GATE_BROKEN") return exitCodes.gateBroken;
  if (fault === "interrupted") return exitCodes.interrupted;
  return fault === "input" ? exitCodes.wrongUsage : exitCodes.failed;
}

/** The last net: whatever was thrown, as a coded error. */
function codedError(error: unknown): LayerfoldError {
  if (isLayerfoldError(error)) return error;
  if (isFileError(error))
    return fileError(error, error.path ?? "a file that the system does not name") as LayerfoldError;
  return internalError(error);
}
