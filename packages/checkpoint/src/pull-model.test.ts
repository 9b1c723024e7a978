import { lstat, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { commit, type Hub, listen, openHub, shut } from "./hub.test.fixture.js";
import type { HubSettings } from "./hub-connection.js";
import { openCheckpoint } from "./open-checkpoint.js";
import { hubSettings, pullModel } from "./pull-model.js";
import { openTokenizer } from "./tokenizer.js";

const code = (wanted: string) => expect.objectContaining({ code: wanted });

let hub: Hub;
let cacheDirectory: string;
let settings: HubSettings;
beforeEach(async () => {
  const opened = await openHub();
  hub = opened;
  cacheDirectory = await mkdtemp(join(tmpdir(), "layerfold-hub-"));
  settings = { hubUrl: opened.url, cacheDirectory, retryDelay: 0.01 };
});
afterEach(async () => {
  await shut(hub.server);
  await rm(cacheDirectory, { recursive: true });
});
const downloads = () => hub.requests.filter(({ url }) => url.includes("/resolve/"));

describe("pullModel", () => {
  it("brings what a checkpoint needs into the cache's layout, of one commit, and nothing else", async () => {
    const folder = await pullModel("org/tiny", settings);
    expect(folder).toBe(join(cacheDirectory, "models--org--tiny", "snapshots", commit));
    expect((await readdir(folder)).sort()).toEqual([
      "LICENSE",
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "quantize_config.json",
      "special_tokens_map.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    expect((await lstat(join(folder, "model.safetensors"))).isSymbolicLink()).toBe(true);
    expect(await readFile(join(cacheDirectory, "models--org--tiny", "refs", "main"), "utf8")).toBe(commit);
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.architecture.blocks).toHaveLength(16);
    await checkpoint.close();
    expect((await openTokenizer(folder)).beginId).toBe(0);
  });

  it("downloads nothing twice, whatever the revision is called", async () => {
    await pullModel("org/tiny", settings);
    hub.requests = [];
    await pullModel("org/tiny@v1", settings);
    await pullModel(`org/tiny@${commit}`, settings);
    expect(downloads()).toEqual([]);
  });

  it("goes on where a download was cut off", async () => {
    hub.cutAfter = 1_000_000;
    const once = { ...settings, attempts: 1 };
    await expect(pullModel("org/tiny", once)).rejects.toThrow(code("HUB_UNREACHABLE"));
    const blobs = join(cacheDirectory, "models--org--tiny", "blobs");
    const partial = (await readdir(blobs)).find((name) => name.endsWith(".incomplete"))!;
    const { size } = await lstat(join(blobs, partial));
    expect(size).toBeGreaterThan(0);
    hub.cutAfter = Number.POSITIVE_INFINITY;
    hub.requests = [];
    const events: unknown[] = [];
    const folder = await pullModel("org/tiny", settings, { report: (event) => events.push(event) });
    const whole = hub.files.get("model.safetensors")!;
    expect(downloads().map(({ range }) => range)).toContain(`bytes=${size}-${whole.length - 1}`);
    expect(whole.equals(await readFile(join(folder, "model.safetensors")))).toBe(true);
    const total = [...hub.files].reduce(
      (sum, [name, { length }]) => sum + (/^config|README|bin$/.test(name) ? 0 : length),
      0,
    );
    expect(events.at(-1)).toEqual({ type: "progress", stage: "download", done: total, total, unit: "bytes" });
  });

  it("takes the shards that the index names", async () => {
    const bytes = hub.files.get("model.safetensors")!;
    hub.files.delete("model.safetensors");
    const shard = "model-00001-of-00001.safetensors";
    hub.files.set(shard, bytes).set("consolidated.safetensors", bytes);
    const map = (name: string) =>
      Buffer.from(JSON.stringify({ metadata: {}, weight_map: { "model.norm.weight": name } }));
    hub.files.set("model.safetensors.index.json", map(shard));
    const folder = await pullModel("org/tiny", settings);
    expect((await readdir(folder)).filter((name) => name.endsWith(".safetensors"))).toEqual([shard]);
    hub.files.set("model.safetensors.index.json", map("model-00002-of-00002.safetensors"));
    await rm(folder, { recursive: true });
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("SHARD_MISSING"));
  });

  it("sends the token, and says when access is denied", async () => {
    hub.token = "hf_secret";
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("HUB_DENIED"));
    await pullModel("org/tiny", { ...settings, accessToken: "hf_secret" });
    expect(hub.requests.at(-1)!.authorization).toBe("Bearer hf_secret");
  });

  it("refuses bytes that the hub did not announce, and forgets them", async () => {
    hub.corrupt = true;
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("HUB_CORRUPT"));
    hub.corrupt = false;
    await pullModel("org/tiny", settings);
  });

  it("stops when it is told to", async () => {
    const controller = new AbortController();
    const report = () => controller.abort();
    await expect(pullModel("org/tiny", settings, { signal: controller.signal, report })).rejects.toThrow(
      code("INTERRUPTED"),
    );
  });

  it("says what is wrong with name, repository and connection", async () => {
    for (const name of ["tiny", "../tiny", "org/..", "org/tiny@../../../x", "org/tiny@/x", "org/tiny@a\\b"]) {
      await expect(pullModel(name, settings)).rejects.toThrow(code("HUB_NAME"));
    }
    await expect(pullModel("org/other", settings)).rejects.toThrow(code("HUB_NOT_FOUND"));
    await expect(pullModel("org/tiny", { ...settings, hubUrl: "http://127.0.0.1:9" })).rejects.toThrow(
      code("HUB_UNREACHABLE"),
    );
    hub.files.delete("model.safetensors");
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("WEIGHTS_PICKLED"));
    hub.files.delete("pytorch_model.bin");
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("WEIGHTS_MISSING"));
    hub.files.delete("config.json");
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("CHECKPOINT_MISSING"));
  });
});

describe("a hub that cannot be trusted", () => {
  const everything = async (folder: string) =>
    (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => !entry.isDirectory());
  const git = "a".repeat(40);
  const size = 5;

  it.each([
    ["a commit that is a path", () => (hub.sha = "../../../outside")],
    ["no commit", () => (hub.sha = undefined)],
    ["a hash that is a path", () => (hub.lies["config.json"] = { oid: "../../../../etc/hostname", size })],
    ["a large hash that is a path", () => (hub.lies["model.safetensors"] = { lfs: { oid: "../x" } })],
    ["a short hash", () => (hub.lies["config.json"] = { oid: git.slice(1) })],
    ["a size below 0", () => (hub.lies["config.json"] = { size: -1 })],
    ["a size that is no number", () => (hub.lies["config.json"] = { size: "5" })],
    ["a licence outside", () => (hub.lies.LICENSE = { path: "LICENSE./../../../../../outside" })],
    ["a licence with a backslash", () => (hub.lies.LICENSE = { path: "LICENSE.\\..\\outside" })],
  ])("refuses %s and writes nothing outside", async (_, lie) => {
    lie();
    const cache = { ...settings, cacheDirectory: join(cacheDirectory, "a", "b") };
    await expect(pullModel("org/tiny", cache)).rejects.toThrow(code("HUB_INVALID"));
    const blobs = join("models--org--tiny", "blobs");
    for (const { name, parentPath } of await everything(cacheDirectory)) {
      expect(parentPath.startsWith(cache.cacheDirectory)).toBe(true);
      if (parentPath.endsWith(blobs)) expect(name).toMatch(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
    }
  });

  it("refuses shards outside the folder", async () => {
    const shard = "../../../model.safetensors";
    hub.files.set("other", hub.files.get("model.safetensors")!).delete("model.safetensors");
    hub.lies.other = { path: shard };
    hub.files.set("model.safetensors.index.json", Buffer.from(JSON.stringify({ weight_map: { a: shard } })));
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("HUB_INVALID"));
  });

  it.each(["not json", "[]", '{"weight_map":{"a":1}}', "null"])("refuses the index %s", async (text) => {
    hub.files.delete("model.safetensors");
    hub.files.set("model.safetensors.index.json", Buffer.from(text));
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("INDEX_INVALID"));
  });

  it("writes no more than was announced", async () => {
    let sent = 0;
    hub.odd = ({ url }, response) => {
      if (!url!.endsWith("/LICENSE")) return false;
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536))) sent += 65_536;
      };
      response.on("drain", more);
      more();
      return true;
    };
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("HUB_CORRUPT"));
    // What the sockets hold, where it would otherwise never end.
    expect(sent).toBeLessThan(64 * 2 ** 20);
    const names = await readdir(join(cacheDirectory, "models--org--tiny", "blobs"));
    expect(names.filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  it("does not take a blob of another size or of other bytes, nor delete it", async () => {
    const folder = await pullModel("org/tiny", settings);
    const [blobs, licence] = [join(folder, "..", "..", "blobs"), "Apache".length];
    const names = await readdir(blobs);
    const sizes = await Promise.all(names.map(async (name) => (await lstat(join(blobs, name))).size));
    const blob = join(blobs, names[sizes.indexOf(licence)]);
    await writeFile(blob, "spoilt");
    // A snapshot that stands is taken by its sizes; hashing gigabytes at every start would cost minutes.
    await pullModel("org/tiny", settings);
    await rm(folder, { recursive: true });
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("CACHE_CORRUPT"));
    await writeFile(blob, "spoilt and longer");
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("CACHE_CORRUPT"));
    expect(await readFile(blob, "utf8")).toBe("spoilt and longer");
  });

  it("sends the token to the hub alone, whatever page or file lies elsewhere", async () => {
    const heard: (string | undefined)[] = [];
    const other = createServer(({ headers, url }, response) => {
      heard.push(headers.authorization);
      response.end(url === "/page" ? "[]" : "Apache");
    });
    try {
      const elsewhere = await listen(other);
      hub.token = "hf_secret";
      hub.next = `${elsewhere}/page`;
      hub.odd = ({ url }, response) => {
        if (!url!.endsWith("/LICENSE")) return false;
        response.writeHead(302, { location: `${elsewhere}/file` }).end();
        return true;
      };
      await pullModel("org/tiny", { ...settings, accessToken: "hf_secret" });
      expect(heard).toEqual([undefined, undefined]);
    } finally {
      await shut(other);
    }
  });

  it("refuses a list that does not end", async () => {
    hub.files = new Map([["config.json", Buffer.from("{}")]]);
    hub.next = `${settings.hubUrl}/api/models/org/tiny/tree/${commit}`;
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("HUB_INVALID"));
  });

  it.each(["null", "<html>", "[1]", "{}"])("refuses the answer %s", async (answer) => {
    hub.odd = (_, response) => Boolean(response.end(answer));
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("HUB_INVALID"));
  });

  it("refuses an address that is none", async () => {
    await expect(pullModel("org/tiny", { ...settings, hubUrl: "hf-mirror" })).rejects.toThrow(
      code("HUB_ENDPOINT"),
    );
  });
});

describe("a hub that has its troubles", () => {
  it("tries again after 429, 5xx and broken connections, as late as Retry-After says", async () => {
    hub.instead = [{ status: 503 }, { status: 429, headers: { "retry-after": "1" } }, { status: 502 }];
    const codes: unknown[] = [];
    const report = (event: object) => "code" in event && codes.push(event.code);
    const start = performance.now();
    await pullModel("org/tiny", settings, { report });
    expect(performance.now() - start).toBeGreaterThanOrEqual(990);
    expect(codes).toEqual(["HUB_RETRY", "HUB_RETRY", "HUB_RETRY"]);
  });

  it("gives up after so many failures in a row, or where it is to wait too long", async () => {
    hub.instead = Array.from({ length: 5 }, () => ({ status: 500 }));
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("HUB_UNREACHABLE"));
    expect(hub.requests).toHaveLength(5);
    hub.instead = [{ status: 429, headers: { "retry-after": "3600" } }];
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(/3600 s/);
  });

  it("asks only for the rest when a transfer breaks again and again", async () => {
    hub.cutAfter = 1_500_000;
    const folder = await pullModel("org/tiny", settings);
    const whole = hub.files.get("model.safetensors")!;
    expect(whole.equals(await readFile(join(folder, "model.safetensors")))).toBe(true);
    const starts = downloads().flatMap(({ url, range }) =>
      url.endsWith("model.safetensors") ? [Number(range?.match(/\d+/) ?? 0)] : [],
    );
    expect(starts.length).toBeGreaterThan(1);
    expect(starts).toEqual([...new Set(starts)].sort((a, b) => a - b));
  });

  it("begins anew where the server knows no ranges", async () => {
    hub.cutAfter = 1_500_000;
    await expect(pullModel("org/tiny", { ...settings, attempts: 1 })).rejects.toThrow();
    hub.cutAfter = Number.POSITIVE_INFINITY;
    const whole = hub.files.get("model.safetensors")!;
    hub.odd = ({ url }, response) => url!.endsWith("model.safetensors") && Boolean(response.end(whole));
    const folder = await pullModel("org/tiny", settings);
    expect(whole.equals(await readFile(join(folder, "model.safetensors")))).toBe(true);
  });

  it("does not wait for ever, before the answer or within it", async () => {
    const impatient = { ...settings, idleTimeout: 0.1, attempts: 2 };
    hub.odd = () => true;
    await expect(pullModel("org/tiny", impatient)).rejects.toThrow(/nothing came for 0.1 s/);
    let asked = 0;
    hub.odd = ({ url }, response) => {
      if (!url!.endsWith("model.safetensors")) return false;
      asked++;
      response.writeHead(200, { "content-length": "1000000" }).write("some");
      return true;
    };
    await expect(pullModel("org/tiny", impatient)).rejects.toThrow(/nothing came for 0.1 s/);
    expect(asked).toBe(2);
  });
});

describe("hubSettings", () => {
  it("reads the variables that huggingface_hub reads, the more special first", () => {
    expect(hubSettings({ HF_HOME: "/a", HF_TOKEN: "t", HF_ENDPOINT: "http://m" })).toEqual({
      cacheDirectory: "/a/hub",
      accessToken: "t",
      hubUrl: "http://m",
    });
    expect(hubSettings({ HF_HUB_DOWNLOAD_TIMEOUT: "60" }).idleTimeout).toBe(60);
    expect(hubSettings({ HF_HOME: "/a", HF_HUB_CACHE: "/b" }).cacheDirectory).toBe("/b");
    expect(hubSettings({ XDG_CACHE_HOME: "/c" }).cacheDirectory).toBe("/c/huggingface/hub");
    expect(hubSettings({}).cacheDirectory).toMatch(/\.cache\/huggingface\/hub$/);
  });
});
