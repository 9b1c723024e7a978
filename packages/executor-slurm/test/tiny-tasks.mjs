// Tasks of the tests, and as a program the worker that makes one of them: `node tiny-tasks.mjs --store S --stage ID --rank N`. What it does is
// noted in the file LAYERFOLD_TEST_LOG.
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { LayerfoldError, throwIfAborted } from "@layerfold/core";
import { defineTask, folderStore, jsonCodec, localExecutor, workRank } from "@layerfold/tasks";

const note = (text) => appendFile(process.env.LAYERFOLD_TEST_LOG, `${text} ${process.pid}\n`);

/** Ends after so many seconds; "dies" kills its process the first time. */
export const number = defineTask({
  kind: "number",
  code: "1",
  codec: jsonCodec(),
  run: async ({ value, seconds = 0, dies = false, fails = false }, _, ctx) => {
    await note(`number ${value}`);
    if (dies) {
      const mark = join(await ctx.scratch(), "died");
      const before = await readFile(mark, "utf8").catch(() => undefined);
      if (before === undefined) {
        await writeFile(mark, "");
        process.kill(process.pid, "SIGKILL");
      }
    }
    if (fails) throw new LayerfoldError("NUMBER_UNLUCKY", "there is no such number", { got: `${value}` });
    await sleep(seconds * 1000, undefined, { signal: ctx.signal }).catch(() => throwIfAborted(ctx.signal));
    return value;
  },
});

/** Counts to `to` in its scratch folder, a unit every 0.1 s. */
export const count = defineTask({
  kind: "count",
  code: "1",
  codec: jsonCodec(),
  run: async ({ to }, _, ctx) => {
    const file = join(await ctx.scratch(), "units");
    for (;;) {
      const done = Number(await readFile(file, "utf8").catch(() => 0));
      if (done >= to) return done;
      throwIfAborted(ctx.signal);
      await sleep(100);
      await note(`unit ${done}`);
      await writeFile(file, `${done + 1}`);
    }
  },
});

export const sum = defineTask({
  kind: "sum",
  code: "1",
  codec: jsonCodec(),
  run: async (_, inputs) => {
    await note("sum");
    let total = 0;
    for (const input of Object.values(inputs)) total += await input.read();
    return total;
  },
});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: Object.fromEntries(
      ["store", "stage", "rank", "memory"].map((name) => [name, { type: "string" }]),
    ),
  });
  const ended = new AbortController();
  process.once("SIGTERM", () => ended.abort());
  const kinds = { factory: (kind) => ({ number, count, sum })[kind] };
  const executor = localExecutor();
  const rank = { id: values.stage, rank: Number(values.rank) };
  try {
    await workRank(
      await folderStore(values.store),
      rank,
      { kinds, executor },
      { engine: {}, signal: ended.signal },
    );
  } catch (error) {
    if (!ended.signal.aborted) {
      console.error(error.code, error.message);
      process.exitCode = 1;
    }
  }
}
