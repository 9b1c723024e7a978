import { parseArgs } from "node:util";
import { runWorker } from "./run-worker.js";

// A worker without a face, where another process starts it; as a child of that it ends with it.
const { values } = parseArgs({
  options: {
    store: { type: "string" },
    stage: { type: "string" },
    rank: { type: "string" },
    memory: { type: "string" },
    plugin: { type: "string", multiple: true },
    tries: { type: "string" },
  },
});
const parent = new AbortController();
process.once("disconnect", () => parent.abort());
// Ctrl-C reaches the whole group, but the parent says when to end.
process.on("SIGINT", () => process.connected || parent.abort());
process.once("SIGTERM", () => parent.abort());
try {
  await runWorker(
    {
      store: values.store!,
      plugins: values.plugin,
      stage: values.stage,
      ...(values.rank !== undefined && { rank: Number(values.rank) }),
      ...(values.tries !== undefined && { tries: Number(values.tries) }),
    },
    { memory: values.memory, signal: parent.signal },
  );
  process.disconnect?.();
} catch (error) {
  if (!parent.signal.aborted) {
    const said =
      error instanceof Error ? `${(error as { code?: string }).code ?? ""} ${error.message}` : `${error}`;
    console.error(said);
    process.exitCode = 1;
    // The log may be on the disk that is full.
    if (process.connected) process.send!({ error: said }, () => process.disconnect());
  }
}
