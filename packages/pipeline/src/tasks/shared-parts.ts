import { readFile, writeFile } from "node:fs/promises";
import type { ShareParts } from "@layerfold/core";
import { type Codec, defineTask, type Json, type Task, type TaskContext } from "@layerfold/tasks";
import { allThreads } from "./resources.js";

const bytesCodec: Codec<Uint8Array> = {
  name: "part.bin",
  write: (bytes, path) => writeFile(path, bytes),
  read: (path) => readFile(path),
};

/** Things whose parts stay, so that a process that is a little behind finds them. */
const kept = 2;

/** Parts of what a task makes, each a task of its own, which any process can make that is at the same task. */
export function sharedParts(ctx: Pick<TaskContext, "digest" | "run" | "forget">): {
  readonly shareParts: ShareParts;
  /** Lets go of the last of them. */
  end(): Promise<void>;
} {
  const times = new Map<string, number>();
  const made: Task[][] = [];
  const shareParts: ShareParts = async (name, count, make) => {
    const time = times.get(name) ?? 0;
    times.set(name, time + 1);
    const tasks = Array.from({ length: count }, (_, part) =>
      defineTask({
        kind: "part",
        code: "parameters",
        codec: bytesCodec,
        here: true,
        resources: allThreads,
        run: async (_: Json) => make(part),
      })({ of: ctx.digest, name, time, part }),
    );
    const parts = await ctx.run(tasks);
    made.push(tasks);
    if (made.length > kept) await ctx.forget(made.shift()!);
    return parts;
  };
  return { shareParts, end: () => ctx.forget(made.flat()) };
}
