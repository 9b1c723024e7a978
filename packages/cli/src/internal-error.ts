import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { LayerfoldError } from "@layerfold/core";
import { version } from "@layerfold/pipeline";

const reportAt = "https://github.com/layerfold/layerfold/issues";

/**
 * An error that no code of ours foresaw, and so ours to mend: INTERNAL, with where to report it and the file in which its stack stands.
 * @param folder - for that file; default: the system's for temporary files
 */
export function internalError(error: unknown, folder = tmpdir()): LayerfoldError {
  const said = error instanceof Error ? `${error.name}: ${error.message}` : inspect(error);
  return new LayerfoldError("INTERNAL", `${said} (report at ${reportAt}, ${stackIn(folder, error)})`, {
    fault: "environment",
    cause: error,
  });
}

/** Writes the stack down at once: the process may be about to end. */
function stackIn(folder: string, error: unknown): string {
  const file = join(folder, `layerfold-error-${process.pid}-${Date.now()}.txt`);
  const machine = `layerfold ${version}, Node ${process.version}, ${process.platform} ${process.arch}`;
  // With the causes, and what an error carries beside its message.
  const text = `${machine}\nlayerfold ${process.argv.slice(2).join(" ")}\n\n${inspect(error, { depth: 5 })}\n`;
  try {
    writeFileSync(file, text, { flag: "wx" });
    return `stack in ${file}`;
  } catch {
    // Nowhere to write: the one line must do.
    return `at ${
      (error as Error)?.stack
        ?.split("\n")
        .find((line) => /^\s+at /.test(line))
        ?.trim()
        .slice(3) ?? "an unknown place"
    }`;
  }
}
