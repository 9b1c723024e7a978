import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Diagnostic, LayerfoldError } from "@layerfold/core";
import { folderCodec, jsonCodec } from "./codec.js";
import type { LeaseOptions } from "./lease.js";
import { defineTask, type Task } from "./task.js";
import type { ArtefactRecord, Lease, Made, TaskStore } from "./task-store.js";

export interface StoreCheckOptions {
  /** Opens the same store, as another process would. */
  open(options?: LeaseOptions): Promise<TaskStore>;
  /** Changes a byte of a file of an artefact, where the store keeps it. @param file - by its path in the artefact's folder */
  damage(record: ArtefactRecord, file: string): Promise<void>;
  /** Puts the process into a standing lease, with a number that no process of this machine has, as if the holder were dead. */
  kill(lease: string): Promise<void>;
}

const number = defineTask({
  kind: "number",
  code: "1",
  codec: jsonCodec<number>(),
  run: async ({ value }: { value: number }) => value,
});
const folder = defineTask({
  kind: "folder",
  code: "1",
  codec: folderCodec("made"),
  run: async (_: { name: string }) => "",
});
const made = <T>(value: T): Made<T> => ({ value, diagnostics: [], seconds: 0.5 });

/**
 * What every `TaskStore` must keep to, for the author of one; `for (const { name, run } of checks) it(name, run)`. `run` throws an Error that says
 * what was broken. All of them may work in the same store.
 */
export function taskStoreChecks({
  open,
  damage,
  kill,
}: StoreCheckOptions): readonly { readonly name: string; run(): Promise<void> }[] {
  const recordOf = async (store: TaskStore, { digest }: Pick<Task, "digest">) => {
    for await (const record of store.list()) if (record.digest === digest) return record;
    return undefined;
  };
  const putFolder = async (store: TaskStore, name: string) => {
    const task = folder({ name });
    const scratch = join(await store.scratch(task), "working");
    await mkdir(join(scratch, "deep"), { recursive: true });
    await writeFile(join(scratch, "a.bin"), Uint8Array.of(1, 2, 3));
    await writeFile(join(scratch, "deep", "b.txt"), name);
    await store.put(task, made(scratch));
    return task;
  };

  return [
    {
      name: "finds what was put, from every place, with its record",
      async run() {
        const [a, b] = [await open(), await open()];
        const task = number({ value: 1 });
        ensure((await a.find(task)) === undefined && !(await a.has(task)), "something stands at first");
        const told: Diagnostic = { type: "diagnostic", severity: "info", code: "TOLD", message: "so" };
        const put = await a.put(task, { value: 0.1, diagnostics: [told], seconds: 2 });
        ensure((await put.read()) === 0.1, "what was put is read as something else");
        ensure(await b.has(task), "it does not stand elsewhere");
        const found = await b.find(task);
        ensure((await found?.read()) === 0.1, "it is not found elsewhere");
        ensure(found!.digest === task.digest && found!.diagnostics[0]?.code === "TOLD", "it was changed");
        const record = await recordOf(b, task);
        const { kind, seconds, value, files } = record!;
        ensure(
          kind === "number" && seconds === 2 && value === "value.json",
          "its record says something else",
        );
        ensure(files["value.json"]?.bytes === 4, "its record has no size");
        ensure((await a.localBytes(["number"])) >= 4, "it takes no room where it was made");
      },
    },
    {
      name: "keeps folders, which lie on this machine once they are read",
      async run() {
        const [a, b] = [await open(), await open()];
        const task = await putFolder(a, "kept");
        const found = (await b.find(task))!;
        const path = await found.read();
        ensure(path === found.path, "it lies elsewhere than it says");
        ensure((await readFile(join(path, "a.bin"))).equals(Buffer.of(1, 2, 3)), "a file was changed");
        ensure((await readFile(join(path, "deep", "b.txt"), "utf8")) === "kept", "a file was changed");
        const { files } = (await recordOf(b, task))!;
        ensure(Object.keys(files).sort().join() === "made/a.bin,made/deep/b.txt", "other files are listed");
      },
    },
    {
      name: "keeps the first of two that are put, whole",
      async run() {
        const [a, b] = [await open(), await open()];
        const task = number({ value: 2 });
        const both = await Promise.all([a.put(task, made(2)), b.put(task, made(20))]);
        const values = await Promise.all([...both, (await a.find(task))!].map((one) => one.read()));
        ensure(values[2] === 2 || values[2] === 20, `it became ${values[2]}`);
        ensure((await (await a.put(task, made(200))).read()) === values[2], "a later one took its place");
      },
    },
    {
      name: "removes an artefact, and takes another in its stead",
      async run() {
        const [a, b] = [await open(), await open()];
        const task = number({ value: 3 });
        await a.put(task, made(3));
        await (await b.find(task))!.read();
        await a.remove(task);
        ensure(!(await b.has(task)) && (await b.find(task)) === undefined, "it still stands");
        ensure((await recordOf(b, task)) === undefined, "it is still listed");
        await a.remove(task);
        await b.put(task, made(4));
        ensure((await (await a.find(task))?.read()) === 4, "the new one is not there");
      },
    },
    {
      name: "tells what was damaged, once, and counts it as not there",
      async run() {
        const store = await open();
        for (const [task, file] of [
          [number({ value: 5 }), "value.json"],
          [folder({ name: "damaged" }), "made/a.bin"],
        ] as const) {
          if (file === "value.json") await store.put(task as Task<number>, made(5));
          else await putFolder(store, "damaged");
          await damage((await recordOf(store, task))!, file);
          const heard: string[] = [];
          const found = await (await open()).find(task as Task, ({ code }) => heard.push(code));
          ensure(found === undefined, `a damaged ${file} is found`);
          ensure(heard.join() === "ARTEFACT_DAMAGED", `it was told as ${heard}`);
          ensure(!(await store.has(task)), "it still stands");
        }
      },
    },
    {
      name: "gives a task to one at a time",
      async run() {
        const stores = await Promise.all([open(), open(), open()]);
        const leases = await Promise.all(stores.map((store) => store.lease("one-at-a-time")));
        const held = leases.filter((lease) => lease !== undefined);
        ensure(held.length === 1, `${held.length} hold it`);
        ensure(held[0].deaths === 0, "somebody is said to have died");
        ensure((await stores[0].lease("one-at-a-time")) === undefined, "it is given once more");
        const holder = (await stores[1].holders()).get("one-at-a-time");
        ensure(
          holder?.process === process.pid && holder.silentSeconds < 60,
          "another does not see who holds it",
        );
        await held[0].release();
        await held[0].release();
        const next = await stores[1].lease("one-at-a-time");
        ensure(next?.deaths === 0, "it is not given after it was released");
        await next.release();
      },
    },
    {
      name: "a lease is kept alive, and not taken from a process that runs",
      async run() {
        const options = { heartbeatSeconds: 0.02, staleSeconds: 0.1 };
        const [a, b] = [await open(options), await open(options)];
        const lease = (await a.lease("kept-alive"))!;
        for (const end = performance.now() + 300; performance.now() < end; await sleep(20))
          ensure((await b.lease("kept-alive")) === undefined, "it was taken");
        await lease.release();
        const next = (await b.lease("kept-alive")) as Lease | undefined;
        ensure(next !== undefined, "it is not released");
        await next.release();
      },
    },
    {
      name: "counts the holders that died, until one releases it",
      async run() {
        const [a, b] = [await open(), await open()];
        const first = (await a.lease("deadly"))!;
        for (const deaths of [1, 2]) {
          await kill("deadly");
          const both = await Promise.all([a.lease("deadly"), b.lease("deadly")]);
          const held = both.filter((lease) => lease !== undefined);
          ensure(held.length === 1, `${held.length} took over`);
          ensure(held[0].deaths === deaths, `${held[0].deaths} are said to have died, not ${deaths}`);
          if (deaths === 2) await held[0].release();
        }
        const next = (await a.lease("deadly"))!;
        ensure(next.deaths === 0, "one that was released still counts deaths");
        // It is another's now.
        await first.release();
        ensure((await b.lease("deadly")) === undefined, "one who lost it released it");
        await next.release();
      },
    },
    {
      name: "keeps notes, and lists them by folder",
      async run() {
        const [{ notes }, { notes: others }] = [await open(), await open()];
        const [first, second] = ["stages/00aa.json", "stages/00bb.json"];
        ensure((await notes.read(first)) === undefined, "a note stands at first");
        await notes.write(second, "two");
        await notes.write(first, "one");
        await notes.write(first, "one, again");
        ensure((await others.read(first)) === "one, again", "a note is not read elsewhere");
        const names = (await others.list("stages")).filter((name) => /^00(aa|bb)\.json$/.test(name));
        ensure(names.join() === "00aa.json,00bb.json", `they are listed as ${names}`);
        ensure(!(await others.list("failures")).includes("00aa.json"), "a note is in another folder too");
        for (const name of [first, first, second]) await notes.remove(name);
        ensure((await others.read(first)) === undefined, "a note that was removed is there");
      },
    },
    {
      name: "says that it stands, and where",
      async run() {
        const store = await open();
        ensure(await store.stands(), "it does not stand");
        ensure(store.location !== "" && store.logs !== "", "it lies nowhere");
        const scratch = await store.scratch({ digest: "ab".repeat(32) });
        await writeFile(join(scratch, "half"), "done");
        const again = await store.scratch({ digest: "ab".repeat(32) });
        ensure((await readFile(join(again, "half"), "utf8")) === "done", "scratch is lost");
      },
    },
  ];
}

function ensure(condition: boolean, message: string): asserts condition {
  if (!condition) throw new LayerfoldError("STORE_LAW", message);
}
