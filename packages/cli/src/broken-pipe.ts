/**
 * Ends the process without a word once whoever reads its output has stopped, as `layerfold … --help | head` does; exit code 1. To be
 * called once, by a program, not by a library.
 */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      process.exit(1);
    });
  }
}
