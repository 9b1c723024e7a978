import { mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { defineTask, folderCodec, jsonCodec, type TaskStore, taskStoreChecks } from "@layerfold/tasks";
import { type BucketServer, startBucketServer } from "@layerfold/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openBucket } from "./bucket.js";
import { localFolder, parseLocation } from "./location.js";
import { findMoto, startMoto } from "./moto.test.fixture.js";
import { openS3Store, removeS3Store } from "./opened-s3-store.js";
import { s3Store } from "./s3-store.js";

let root: string;
let server: BucketServer;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-s3-"));
  Object.assign(process.env, {
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "somebody",
    AWS_SECRET_ACCESS_KEY: "quiet-please",
    AWS_MAX_ATTEMPTS: "3",
    LAYERFOLD_STORE_CACHE: join(root, "cache"),
  });
  server = await startBucketServer("bucket");
});
afterAll(async () => {
  await server.close();
  await rm(root, { recursive: true, force: true });
});

const location = "s3://bucket/a/store";
beforeEach(() => {
  process.env.AWS_ENDPOINT_URL = server.url;
});
afterEach(async () => {
  server.fault = undefined;
  server.conditions = true;
  server.objects.clear();
  await rm(join(root, "cache"), { recursive: true, force: true });
});

const number = defineTask({
  kind: "number",
  code: "1",
  codec: jsonCodec<number>(),
  run: async ({ value }: { value: number }) => value,
});
const made = <T>(value: T) => ({ value, diagnostics: [], seconds: 1 });
const keys = () => [...server.objects.keys()].map((key) => key.slice("bucket/a/store/".length)).sort();

const moto = findMoto();
describe.each([
  ["a server in this process", () => startBucketServer("bucket")],
  ["moto", moto === undefined ? undefined : () => startMoto(moto, "bucket")],
] as const)("on %s", (name, start) => {
  if (!start) return it.skip(`${name} is not installed: pip install 'moto[server]', or LAYERFOLD_MOTO=PATH`);
  let started: { readonly url: string; close(): Promise<void> };
  beforeAll(async () => {
    started = await start();
  });
  afterAll(() => started.close());
  beforeEach(() => {
    process.env.AWS_ENDPOINT_URL = started.url;
  });
  /** Two machines, in turn. */
  let opened = 0;
  const place = "s3://bucket/laws";
  const bucket = () => openBucket(parseLocation(place));
  const checks = taskStoreChecks({
    open: (options) => s3Store(place, { ...options, cache: join(root, "cache", `${opened++ % 2}`) }),
    async damage({ kind, digest }, file) {
      for await (const { key } of bucket().list(`artefacts/${kind}/${digest}/`)) {
        if (key.endsWith(file)) await bucket().write(key, `x${(await bucket().read(key))!.text.slice(1)}`);
      }
    },
    async kill(lease) {
      const { text } = (await bucket().read(`leases/${lease}`))!;
      await bucket().write(`leases/${lease}`, JSON.stringify({ ...JSON.parse(text), process: 2 ** 30 }));
    },
  });
  // moto looks and writes in two steps: of two requests in the same instant both may meet a condition.
  const racing = /at a time|first of two|holders that died/;
  for (const check of checks) it.skipIf(name === "moto" && racing.test(check.name))(check.name, check.run);

  it("removes all of it, and nothing else", async () => {
    await openBucket(parseLocation("s3://bucket/laws-of-others")).write("letter.txt", "dear");
    const { tasks } = await removeS3Store(place);
    expect(tasks).toBeGreaterThan(1);
    const left: string[] = [];
    for await (const { key } of openBucket(parseLocation("s3://bucket")).list("")) left.push(key);
    expect(left).toEqual(["laws-of-others/letter.txt"]);
  });
});

it("copies nothing until it is read, and then once", async () => {
  const task = number({ value: 7 });
  await (await s3Store(location, { cache: join(root, "cache", "elsewhere") })).put(task, made(7));
  const store = await s3Store(location);
  server.requests.length = 0;
  const found = (await store.find(task))!;
  expect(await store.has(task)).toBe(true);
  const reads = () => server.requests.filter((request) => /^GET .*value\.json/.test(request)).length;
  expect(reads()).toBe(0);
  expect([await found.read(), await found.read(), await (await store.find(task))!.read()]).toEqual([7, 7, 7]);
  expect(reads()).toBe(1);
  expect(await store.localBytes(["number"])).toBe(2);
  // Damage on this machine is mended from the bucket.
  await writeFile(found.path, "8\n");
  expect(await (await store.find(task))!.read()).toBe(7);
  expect(reads()).toBe(2);
});

it("a bucket that was copied elsewhere is as good", async () => {
  const task = number({ value: 7 });
  await (await s3Store(location)).put(task, made(7));
  const key = [...server.objects.keys()].find((name) => name.endsWith("artefact.json"))!;
  const { etags, ...record } = JSON.parse(server.objects.get(key)!.toString());
  server.objects.set(key, Buffer.from(JSON.stringify({ ...record, etags: { "value.json": '"other"' } })));
  server.requests.length = 0;
  for (let time = 0; time < 3; time++)
    expect(await (await (await s3Store(location)).find(task))!.read()).toBe(7);
  // Looked at once, and noted.
  expect(server.requests.filter((request) => /^GET .*value\.json/.test(request))).toHaveLength(1);
});

it("an upload that is broken off counts for nothing and leaves nothing, and its value is not lost", async () => {
  const store = await s3Store(location);
  const task = number({ value: 1 });
  server.fault = ({ method, url }) =>
    method === "PUT" && url!.includes("artefact.json") ? { status: 403, code: "AccessDenied" } : undefined;
  await expect(store.put(task, made(1))).rejects.toMatchObject({ code: "BUCKET_DENIED" });
  expect(keys()).toEqual(["layerfold-store.json"]);
  server.fault = undefined;
  expect([await store.has(task), await store.find(task)]).toEqual([false, undefined]);
  expect(await (await store.put(task, made(1))).read()).toBe(1);
  // Of a process that was killed in between.
  const digest = "ab".repeat(32);
  server.objects.set(
    `bucket/a/store/artefacts/number/${digest}/${"0".repeat(36)}/value.json`,
    Buffer.from("1"),
  );
  expect(await store.has({ kind: "number", digest })).toBe(false);
  expect(await removeS3Store(location)).toEqual({ tasks: 1, bytes: 2 });
  expect(keys()).toEqual([]);
});

it("writes whose answers are lost are its own all the same", async () => {
  const store = await s3Store(location);
  const lost = new Set<string>();
  server.fault = ({ method, url }) => {
    const path = url!.split("?")[0];
    if (method !== "PUT" || lost.has(path) || !/leases|artefact\.json/.test(path)) return undefined;
    lost.add(path);
    return "lost";
  };
  const lease = await store.lease("mine");
  expect(lease?.deaths).toBe(0);
  expect(await store.lease("mine")).toBeUndefined();
  await store.put(number({ value: 2 }), made(2));
  expect(lost.size).toBe(2);
  // One record and one value: nothing was taken for another's.
  expect(keys().filter((key) => key.startsWith("artefacts/"))).toHaveLength(2);
  await lease!.release();
  expect(keys().filter((key) => key.startsWith("leases/"))).toEqual([]);
});

const large = defineTask({
  kind: "large",
  code: "1",
  codec: folderCodec("made"),
  run: async () => "",
});
const putLarge = async (store: TaskStore) => {
  const task = large({});
  const folder = await store.scratch(task);
  const file = await open(join(folder, "weights"), "w");
  await file.truncate(2 ** 24 + 5);
  await file.close();
  return store.put(task, made(folder));
};

it("large files go up in parts, and leave no parts when they are broken off", async () => {
  const store = await s3Store(location);
  const artefact = await putLarge(store);
  expect(server.requests.filter((request) => request.includes("partNumber="))).toHaveLength(2);
  await store.remove({ kind: "large", digest: artefact.digest });
  const broken = new AbortController();
  server.fault = ({ url }) => {
    if (url!.includes("partNumber=")) broken.abort();
    return undefined;
  };
  const stoppable = await s3Store(location, { signal: broken.signal });
  await expect(putLarge(stoppable)).rejects.toMatchObject({ code: "INTERRUPTED" });
  server.fault = undefined;
  await sleep(50);
  expect([...server.uploads]).toEqual([]);
  expect(keys()).toEqual(["layerfold-store.json"]);
  // Those of a process that was killed go with the store.
  server.uploads.set("bucket/a/store/artefacts/large/x#1", new Map());
  await removeS3Store(location);
  expect([...server.uploads]).toEqual([]);
});

it("a lease of another host is taken once its tag no longer changes", async () => {
  const [a, b] = [await s3Store(location), await s3Store(location, { staleSeconds: 0.2 })];
  await a.lease("elsewhere");
  const key = "bucket/a/store/leases/elsewhere";
  const text = JSON.parse(server.objects.get(key)!.toString());
  expect(text).toMatchObject({ host: hostname(), process: process.pid });
  const beat = (beats: number) =>
    server.objects.set(key, Buffer.from(JSON.stringify({ ...text, host: "another", beats })));
  for (let beats = 1; beats < 8; beats++) {
    beat(beats);
    expect(await b.lease("elsewhere")).toBeUndefined();
    await sleep(50);
  }
  await sleep(250);
  expect((await b.lease("elsewhere"))?.deaths).toBe(1);
});

it("says in a line what is wrong with a bucket, and no secret", async () => {
  process.env.AWS_MAX_ATTEMPTS = "1";
  const refusal = (place: string) =>
    s3Store(place).then(
      () => undefined,
      (error) => error,
    );
  expect(await refusal("s3://none/x")).toMatchObject({ code: "BUCKET_MISSING", fault: "environment" });
  for (const [status, code, wanted] of [
    [403, "AccessDenied", "BUCKET_DENIED"],
    [403, "InvalidAccessKeyId", "BUCKET_DENIED"],
    [301, "PermanentRedirect", "BUCKET_REGION"],
    [503, "SlowDown", "BUCKET_UNREACHABLE"],
    [507, "XMinioStorageFull", "BUCKET_FULL"],
    [400, "InvalidArgument", "BUCKET_FAILED"],
  ] as const) {
    server.fault = () => ({ status, code });
    expect(await refusal(location)).toMatchObject({ code: wanted });
  }
  server.fault = undefined;
  process.env.AWS_ENDPOINT_URL = "http://127.0.0.1:9";
  const unreachable = await refusal(location);
  expect(unreachable).toMatchObject({ code: "BUCKET_UNREACHABLE" });
  expect(unreachable.message).not.toMatch(/\n|quiet-please/);
  process.env.AWS_ENDPOINT_URL = server.url;
  process.env.AWS_MAX_ATTEMPTS = "3";
  server.conditions = false;
  expect(await refusal(location)).toMatchObject({ code: "BUCKET_UNCONDITIONAL" });
  for (const place of ["s3://B/x", "s3://", "s3://bucket/a//b", "s3://bucket/../b", "s3://bucket/a?b"])
    expect(await refusal(place)).toMatchObject({ code: "STORE_LOCATION", got: place });
});

it("names the bucket in the path where an endpoint is given, by the environment or by a profile", async () => {
  // A name, since an address has no names below it in any case.
  const url = server.url.replace("127.0.0.1", "localhost");
  process.env.AWS_ENDPOINT_URL = url;
  await s3Store(location);
  delete process.env.AWS_ENDPOINT_URL;
  process.env.AWS_CONFIG_FILE = join(root, "aws-config");
  process.env.AWS_PROFILE = "own";
  const lines = [
    "[profile own]",
    `endpoint_url = ${url}`,
    "aws_access_key_id = a",
    "aws_secret_access_key = b",
  ];
  await writeFile(process.env.AWS_CONFIG_FILE, `${lines.join("\n")}\n`);
  try {
    expect(await (await s3Store(location)).stands()).toBe(true);
  } finally {
    delete process.env.AWS_CONFIG_FILE;
    delete process.env.AWS_PROFILE;
  }
});

it("goes when the last one leaves it, and is not removed while somebody is in it", async () => {
  const [a, b] = await Promise.all([openS3Store(location), openS3Store(location)]);
  expect([await a.alone(), await a.isEmpty()]).toEqual([false, true]);
  await a.store.put(number({ value: 3 }), made(3));
  expect(await a.leave({ remove: true })).toBe("in use");
  await expect(removeS3Store(location)).rejects.toMatchObject({ code: "STORE_IN_USE" });
  expect([await b.alone(), await b.isEmpty()]).toEqual([true, false]);
  expect(await b.leave({ remove: true })).toBe("removed");
  expect(keys()).toEqual([]);
  expect(await a.store.stands()).toBe(false);
});

it("refuses what is none, what holds something else, and another version", async () => {
  await expect(removeS3Store(location)).rejects.toMatchObject({ code: "STORE_FOREIGN" });
  server.objects.set("bucket/a/store/letter.txt", Buffer.from("dear"));
  const foreign = { code: "STORE_FOREIGN", got: "letter.txt" };
  await expect(s3Store(location)).rejects.toMatchObject(foreign);
  await expect(removeS3Store(location)).rejects.toMatchObject(foreign);
  server.objects.clear();
  await (await openS3Store(location)).leave();
  server.objects.set("bucket/a/store/letter.txt", Buffer.from("dear"));
  await expect(removeS3Store(location)).rejects.toMatchObject(foreign);
  expect(keys()).toEqual(["layerfold-store.json", "letter.txt"]);
  server.objects.set("bucket/a/store/layerfold-store.json", Buffer.from('{"layout":7}'));
  await expect(s3Store(location)).rejects.toMatchObject({ code: "STORE_OTHER_VERSION", got: "7" });
});

it("is begun by one of many that come at once, and this machine's folder goes with it", async () => {
  const stores = await Promise.all([1, 2, 3, 4].map(() => s3Store(location)));
  await Promise.all(stores.map((store, value) => store.put(number({ value }), made(value))));
  expect(await readdir(localFolder(location))).toContain("artefacts");
  expect(await removeS3Store(location)).toEqual({ tasks: 4, bytes: 8 });
  await expect(readFile(localFolder(location))).rejects.toMatchObject({ code: "ENOENT" });
});
