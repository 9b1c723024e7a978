import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Diagnostic, MatmulEngine } from "@layerfold/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { folderCodec, jsonCodec } from "./codec.js";
import type { ExecutionContext } from "./executor.js";
import { folderStore } from "./folder-store.js";
import { localExecutor } from "./local-executor.js";
import { type Artefact, defineTask, type TaskContext } from "./task.js";
import type { TaskStore } from "./task-store.js";

let root: string;
let store: TaskStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-tasks-"));
  store = await folderStore(join(root, "store"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const engine = {} as MatmulEngine;

/** A context that counts. */
function counting(signal?: AbortSignal) {
  const settled: string[] = [];
  const told: Diagnostic[] = [];
  const ctx: ExecutionContext = {
    engine,
    signal,
    settled: (task, how) => settled.push(`${how} ${task.kind}`),
    report: (event) => event.type === "diagnostic" && told.push(event),
  };
  return { ctx, settled, told };
}

function number(
  kind: string,
  make: (value: number, ctx: TaskContext) => Promise<number> | number,
  code = "1",
) {
  return defineTask({
    kind,
    code,
    codec: jsonCodec<number>(),
    run: async ({ value }: { value: number }, _, ctx) => make(value, ctx),
  });
}
const square = number("square", (value) => value * value);
const sum = defineTask({
  kind: "sum",
  code: "1",
  codec: jsonCodec<number>(),
  run: async (_: Record<never, never>, { a, b }: { a: Artefact<number>; b: Artefact<number> }) =>
    (await a.read()) + (await b.read()),
});

describe("localExecutor", () => {
  it("runs what a task depends on, each once, and finds all of it the next time", async () => {
    const first = counting();
    const task = sum({}, { a: square({ value: 3 }), b: square({ value: 4 }) });
    expect(await localExecutor().run([task, task, square({ value: 3 })], store, first.ctx)).toEqual([
      25, 25, 9,
    ]);
    expect(first.settled.filter((what) => what.startsWith("made")).sort()).toEqual([
      "made square",
      "made square",
      "made sum",
    ]);
    const second = counting();
    expect(await localExecutor().run([task], store, second.ctx)).toEqual([25]);
    expect(second.settled).toEqual(["found sum"]);
  });

  it("gives numbers back bit for bit", async () => {
    const values = [0.1 + 0.2, Number.MIN_VALUE, 1 / 3, -1e300, 2 ** 53 - 1];
    const same = number("same", (value) => value);
    await localExecutor().run(
      values.map((value) => same({ value })),
      store,
      counting().ctx,
    );
    expect(
      await localExecutor().run(
        values.map((value) => same({ value })),
        store,
        counting().ctx,
      ),
    ).toEqual(values);
  });

  it("makes again what other parameters, inputs or code would make", async () => {
    const digests = [
      square({ value: 1 }),
      square({ value: 2 }),
      number("square", (v) => v, "2")({ value: 1 }),
      number("cube", (v) => v)({ value: 1 }),
      sum({}, { a: square({ value: 1 }), b: square({ value: 2 }) }),
      sum({}, { a: square({ value: 2 }), b: square({ value: 1 }) }),
    ].map(({ digest }) => digest);
    expect(new Set(digests).size).toBe(digests.length);
    expect(square({ value: 1 }).digest).toBe(digests[0]);
  });

  it("keeps what was made when a task fails, and begins nothing more", async () => {
    const { ctx, settled } = counting();
    const failing = number("failing", () => {
      throw new Error("no");
    });
    const late = number("late", (value) => value);
    const executor = localExecutor({ resources: { threads: 1 } });
    const tasks = [square({ value: 2 }), failing({ value: 1 }), late({ value: 1 })];
    await expect(executor.run(tasks, store, ctx)).rejects.toThrow("no");
    expect(settled).toEqual(["made square"]);
    // It can be tried again at once: nobody holds the lease of what failed.
    await expect(executor.run([failing({ value: 1 })], store, ctx)).rejects.toThrow("no");
  });

  it("tells again what was told when the artefact was made", async () => {
    const odd = number("odd", (value, ctx) => {
      ctx.report?.({ type: "diagnostic", severity: "warning", code: "ODD", message: "how odd" });
      return value;
    });
    for (const how of ["made odd", "found odd"]) {
      const { ctx, told, settled } = counting();
      await localExecutor().run([odd({ value: 1 })], store, ctx);
      expect(settled).toEqual([how]);
      expect(told.map(({ code }) => code)).toEqual(["ODD"]);
    }
  });

  it("runs side by side what fits, and lets go of what a task holds while it waits for others", async () => {
    let [now, most] = [0, 0];
    const busy = (kind: string, threads: number) =>
      defineTask({
        kind,
        code: "1",
        codec: jsonCodec<number>(),
        resources: () => ({ threads, bytes: 0 }),
        run: async ({ value }: { value: number }) => {
          most = Math.max(most, (now += threads));
          await sleep(20);
          now -= threads;
          return value;
        },
      });
    const executor = localExecutor({ resources: { threads: 3 } });
    const small = busy("small", 1);
    const large = busy("large", 8);
    const tasks = [1, 2, 3, 4].map((value) => small({ value }));
    await executor.run([...tasks, large({ value: 1 })], store, counting().ctx);
    expect(most).toBe(8);
    most = 0;
    await executor.run(
      [5, 6, 7, 8, 9, 10].map((value) => small({ value })),
      store,
      counting().ctx,
    );
    expect(most).toBe(3);
    const outer = defineTask({
      kind: "outer",
      code: "1",
      codec: jsonCodec<readonly number[]>(),
      resources: () => ({ threads: 3, bytes: 0 }),
      run: (_: Record<never, never>, __, ctx) => ctx.run([large({ value: 2 }), small({ value: 11 })]),
    });
    expect(await executor.run([outer({})], store, counting().ctx)).toEqual([[2, 11]]);
  });

  it("opens what tasks share once, keeps it for the next, and closes it in the end", async () => {
    const log: string[] = [];
    const using = number("using", async (value, ctx) => {
      const opened = await ctx.shared("model", async () => {
        log.push("open");
        return { offset: 10, close: async () => void log.push("close") };
      });
      return value + opened.offset;
    });
    const executor = localExecutor();
    const run = (...values: number[]) =>
      executor.run(
        values.map((value) => using({ value })),
        store,
        counting().ctx,
      );
    expect(await run(1, 2)).toEqual([11, 12]);
    expect(await run(3)).toEqual([13]);
    expect(log).toEqual(["open"]);
    await executor.close();
    expect(log).toEqual(["open", "close"]);
  });

  it("gives a task the folder back in which its last try worked", async () => {
    let tries = 0;
    const serial = number("serial", async (value, ctx) => {
      const folder = await ctx.scratch();
      const done = await readdir(folder);
      await writeFile(join(folder, `block-${done.length}`), "x");
      if (++tries === 1) throw new Error("killed");
      return value + done.length;
    });
    const executor = localExecutor();
    await expect(executor.run([serial({ value: 1 })], store, counting().ctx)).rejects.toThrow("killed");
    expect(await executor.run([serial({ value: 1 })], store, counting().ctx)).toEqual([2]);
    expect(await readdir(join(root, "store/scratch"))).toEqual([]);
  });

  it("moves a folder that a task made into the store", async () => {
    const folder = defineTask({
      kind: "folder",
      code: "1",
      codec: folderCodec("checkpoint"),
      run: async (_: Record<never, never>, __, ctx) => {
        const made = join(await ctx.scratch(), "made");
        await import("node:fs/promises").then(({ mkdir }) => mkdir(made));
        await writeFile(join(made, "config.json"), "{}");
        return made;
      },
    });
    const [path] = await localExecutor().run([folder({})], store, counting().ctx);
    expect(path).toMatch(/artefacts.folder.[0-9a-f]{64}.checkpoint$/);
    expect(await readdir(path)).toEqual(["config.json"]);
  });

  it.each(["cut short", "changed"])("makes again an artefact that was %s, and says so", async (how) => {
    await localExecutor().run([square({ value: 7 })], store, counting().ctx);
    const file = (await store.find(square({ value: 7 })))!.path;
    if (how === "changed") await writeFile(file, "50\n");
    else await truncate(file, 1);
    const { ctx, told, settled } = counting();
    expect(await localExecutor().run([square({ value: 7 })], store, ctx)).toEqual([49]);
    expect(settled).toEqual(["made square"]);
    expect(told.map(({ code }) => code)).toEqual(["ARTEFACT_DAMAGED"]);
  });

  it("is stopped by a signal, and keeps what it has", async () => {
    const stop = new AbortController();
    const { ctx, settled } = counting(stop.signal);
    const slow = number("slow", async (value, { signal }) => {
      await sleep(60_000, undefined, { signal });
      return value;
    });
    const running = localExecutor().run([square({ value: 2 }), slow({ value: 1 })], store, ctx);
    while (settled.length === 0) await sleep(5);
    stop.abort();
    await expect(running).rejects.toMatchObject({ code: "INTERRUPTED" });
    expect(settled).toEqual(["made square"]);
  });

  it("says of every artefact what made it", async () => {
    await localExecutor().run(
      [sum({}, { a: square({ value: 1 }), b: square({ value: 2 }) })],
      store,
      counting().ctx,
    );
    const records = [];
    for await (const record of store.list()) records.push(record);
    const found = records.find(({ kind }) => kind === "sum")!;
    expect(found.inputs).toEqual({ a: square({ value: 1 }).digest, b: square({ value: 2 }).digest });
    expect(records.filter(({ kind }) => kind === "square").map(({ parameters }) => parameters)).toEqual(
      expect.arrayContaining([{ value: 1 }, { value: 2 }]),
    );
    await store.remove(found);
    expect(await store.find(sum({}, { a: square({ value: 1 }), b: square({ value: 2 }) }))).toBeUndefined();
  });

  it("refuses parameters that JSON cannot say", () => {
    expect(() => square({ value: Number.NaN })).toThrow(expect.objectContaining({ code: "JSON_INVALID" }));
  });
});

describe("two processes and one store", () => {
  const worker = fileURLToPath(new URL("../test/worker.mjs", import.meta.url));
  const start = (...args: string[]) => {
    const child = spawn(process.execPath, [worker, join(root, "store"), ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk) => {
      output += chunk;
    });
    return { child, ended: once(child, "exit").then(([code]) => ({ code, output })), output: () => output };
  };

  it("do the same work once", async () => {
    const log = join(root, "log");
    await writeFile(log, "");
    const [a, b] = await Promise.all([start(log, "300").ended, start(log, "300").ended]);
    expect([a.code, b.code]).toEqual([0, 0]);
    expect([a.output, b.output].sort()).toEqual(["found 42\n", "made 42\n"]);
    expect(await readFile(log, "utf8")).toBe("run\n");
  });

  it("take over from one another when one is killed", async () => {
    const log = join(root, "log");
    await writeFile(log, "");
    const dying = start(log, "600000");
    while ((await readFile(log, "utf8")) === "") await sleep(10);
    const waiting = start(log, "1");
    await sleep(300);
    dying.child.kill("SIGKILL");
    expect(await waiting.ended).toEqual({ code: 0, output: "made 42\n" });
    expect(await readdir(join(root, "store/leases"))).toEqual([]);
  });
});
