import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { checkpoint, data } from "@layerfold/foldling";
import { startBucketServer } from "@layerfold/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startLayerfold } from "./start-layerfold.js";

const scratch = mkdtempSync(join(tmpdir(), "layerfold-workers-"));
const at = (...names: string[]) => join(scratch, ...names);
afterAll(() => rmSync(scratch, { recursive: true }));

const recipe = {
  ...{
    model: checkpoint,
    calibration: { text: `${join(data, "calibration.jsonl")}[0:6]`, planning_tokens: 64 },
  },
  evaluate: { texts: [`${join(data, "validation.jsonl")}[0:2]`] },
  ...{ methods: ["mka", "sleb"], layers: [15, 14] },
};
writeFileSync(at("recipe.json"), JSON.stringify(recipe));

/** Every file of a folder. */
function filesIn(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    names.map(({ parentPath, name }) => [
      join(parentPath, name).slice(folder.length),
      readFileSync(join(parentPath, name), "base64"),
    ]),
  );
}

let made: number;
beforeAll(async () => {
  const { code, result, stderr } = await startLayerfold("run", at("recipe.json"), "--out", at("here")).ended;
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  made = result.tasks.made;
});

/** Processes that hold a lease of a task in a store. */
function workersAt(store: string): number[] {
  const folder = join(store, "leases");
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    if (!/^[0-9a-f]{64}\.\d+$/.test(name)) return [];
    try {
      return [JSON.parse(readFileSync(join(folder, name), "utf8")).process as number];
    } catch {
      // Released in this moment.
      return [];
    }
  });
}

it("two workers, one of them killed on the way, come to the bytes of one process, and make each task once", async () => {
  const out = at("two");
  const running = startLayerfold("run", at("recipe.json"), "--out", out, "--workers", "2");
  let killed = false;
  void running.ended.then(() => (killed = true));
  while (!killed) {
    await sleep(5);
    const [id] = workersAt(`${out}.work`).filter((holder) => holder !== running.pid);
    if (id !== undefined) {
      // One that has just gone cannot be killed.
      try {
        process.kill(id, "SIGKILL");
        killed = true;
      } catch {}
    }
  }
  const { code, result, stderr } = await running.ended;
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  expect(result.tasks).toEqual({ made, found: 0 });
  expect(filesIn(out)).toEqual(filesIn(at("here")));
  expect(existsSync(`${out}.work`)).toBe(false);
});

it("workers that are started by hand do it too, and end with the store; one without the plug-in refuses", async () => {
  const measure = at("own-measure.mjs");
  writeFileSync(
    measure,
    `export default { kind: "similarity", id: "own", options: {}, traits: {},
      async prepare(layer) { return layer; },
      async compare(a, b) { return a.data[0] + b.data[0]; } };`,
  );
  const own = { ...recipe, methods: [{ name: "own", method: "mka", measure }], layers: [15] };
  writeFileSync(at("own.json"), JSON.stringify(own));
  const alone = await startLayerfold("run", at("own.json"), "--out", at("alone")).ended;
  expect([alone.code, alone.stderr]).toEqual([0, expect.any(String)]);
  const store = at("shared");
  const running = startLayerfold(
    "run",
    at("own.json"),
    "--out",
    at("by-hand"),
    "--workers",
    "0",
    "--store",
    store,
  );
  const without = await startLayerfold("work", "--store", store).ended;
  expect(without.code).toBe(1);
  expect(without.stderr).toContain("PLUGIN_ABSENT");
  const workers = [1, 2].map(() => startLayerfold("work", "--store", store, "--plugin", measure));
  const { code, result, stderr } = await running.ended;
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  expect(result.tasks).toEqual(alone.result.tasks);
  expect(filesIn(at("by-hand"))).toEqual(filesIn(at("alone")));
  const status = await startLayerfold("status", "--store", store).ended;
  expect([status.code, status.result]).toEqual([
    0,
    expect.objectContaining({ users: [], stages: [], running: [] }),
  ]);
  expect(status.result.finished).toContainEqual(expect.objectContaining({ kind: "plan", tasks: 1 }));
  rmSync(store, { recursive: true });
  const done = await Promise.all(workers.map(({ ended }) => ended));
  expect(done.map((worker) => [worker.code, worker.stderr])).toEqual([
    [0, expect.any(String)],
    [0, expect.any(String)],
  ]);
});

it("a bucket in the stead of a folder comes to the same bytes, found again elsewhere, and is freed", async () => {
  const server = await startBucketServer("bucket");
  Object.assign(process.env, {
    ...{ AWS_ENDPOINT_URL: server.url, AWS_REGION: "us-east-1" },
    ...{ AWS_ACCESS_KEY_ID: "anybody", AWS_SECRET_ACCESS_KEY: "anything" },
    LAYERFOLD_STORE_CACHE: at("cache"),
  });
  const store = "s3://bucket/a/grid";
  const run = (out: string, ...args: string[]) =>
    startLayerfold("run", at("recipe.json"), "--out", at(out), "--store", store, ...args).ended;
  try {
    const first = await run("bucket", "--workers", "2");
    expect([first.code, first.stderr]).toEqual([0, expect.any(String)]);
    expect(first.result.tasks).toEqual({ made, found: 0 });
    expect(filesIn(at("bucket"))).toEqual(filesIn(at("here")));
    expect([...server.objects.keys()].filter((key) => /leases|stages|failures/.test(key))).toEqual([]);
    // Another machine, which has read nothing yet.
    process.env.LAYERFOLD_STORE_CACHE = at("another-cache");
    const again = await run("bucket-again");
    expect(again.result.tasks.made).toBe(0);
    expect(filesIn(at("bucket-again"))).toEqual(filesIn(at("here")));
    // But for folds that went once they were measured.
    expect((await startLayerfold("clean", store).ended).result.tasks).toBeGreaterThan(made / 2);
    expect([...server.objects.keys()]).toEqual([]);
    const gone = await startLayerfold("work", "--store", "s3://nobody/grid").ended;
    expect([gone.code, gone.stderr]).toEqual([1, expect.stringContaining("BUCKET_MISSING")]);
  } finally {
    await server.close();
  }
});

it("a plug-in that fails in a worker ends the run with its own error", async () => {
  mkdirSync(at("failing"));
  const measure = at("failing", "measure.mjs");
  writeFileSync(
    measure,
    `export default { kind: "similarity", id: "failing", options: {}, traits: {},
      async prepare(layer) { return layer; },
      async compare() { throw new Error("no such thing as likeness"); } };`,
  );
  writeFileSync(
    at("failing.json"),
    JSON.stringify({ ...recipe, methods: [{ method: "mka", name: "f", measure }] }),
  );
  const out = at("failed");
  const { code, stderr } = await startLayerfold("run", at("failing.json"), "--out", out, "--workers", "1")
    .ended;
  expect(code).toBe(2);
  expect(stderr).toContain("PLUGIN_FAILED");
  expect(stderr).toContain("no such thing as likeness");
  expect(readdirSync(join(`${out}.work`, "artefacts"))).toContain("capture");
});
