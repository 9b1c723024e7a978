import { createHash } from "node:crypto";
import { lstat, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openCheckpoint } from "./open-checkpoint.js";
import { hubSettings, pullModel } from "./pull-model.js";
import { openTokenizer } from "./tokenizer.js";

const foldling = fileURLToPath(new URL("../../../models/foldling/checkpoint/", import.meta.url));
const commit = "0123456789abcdef0123456789abcdef01234567";
const code = (wanted: string) => expect.objectContaining({ code: wanted });

/** A repository as the hub serves it: what it is at, its tree, and its files by range. */
class Hub {
  files = new Map<string, Buffer>();
  requests: { url: string; range?: string; authorization?: string }[] = [];
  /** Cut the connection after so many bytes of a large file. */
  cutAfter = Number.POSITIVE_INFINITY;
  corrupt = false;
  token: string | undefined;
  server: Server = createServer((request, response) => {
    const { status, headers, body } = this.answer(request);
    response.writeHead(status, headers);
    if (body.length > 100_000 && body.length > this.cutAfter) {
      response.write(body.subarray(0, this.cutAfter), () => response.destroy());
    } else {
      response.end(body);
    }
  });

  private answer(request: IncomingMessage): {
    status: number;
    headers: Record<string, string>;
    body: Buffer;
  } {
    const { range, authorization } = request.headers;
    const url = new URL(request.url!, "http://hub").pathname;
    this.requests.push({ url, range, authorization });
    const json = (value: unknown) => ({
      status: 200,
      headers: { "content-type": "application/json" },
      body: Buffer.from(JSON.stringify(value)),
    });
    if (this.token && authorization !== `Bearer ${this.token}`)
      return { status: 401, headers: {}, body: Buffer.alloc(0) };
    if (/^\/api\/models\/org\/tiny\/revision\/(main|v1|[0-9a-f]{40})$/.test(url))
      return json({ _id: "1", id: "org/tiny", sha: commit });
    if (url === `/api/models/org/tiny/tree/${commit}`) {
      return json(
        [...this.files].map(([path, bytes]) => ({
          type: "file",
          path,
          size: bytes.length,
          ...this.hashes(path, bytes),
        })),
      );
    }
    const path = url.startsWith(`/org/tiny/resolve/${commit}/`) ? url.split("/").at(-1)! : "";
    const bytes = this.files.get(path);
    if (!bytes) return { status: 404, headers: {}, body: Buffer.alloc(0) };
    const served = this.corrupt && path.endsWith(".safetensors") ? Buffer.alloc(bytes.length) : bytes;
    const wanted = /^bytes=(\d+)-(\d+)$/.exec(range ?? "");
    const [start, end] = wanted ? [Number(wanted[1]), Number(wanted[2])] : [0, bytes.length - 1];
    const part = served.subarray(start, end + 1);
    const headers = {
      etag: '"e"',
      "content-range": `bytes ${start}-${end}/${bytes.length}`,
      "content-length": `${part.length}`,
    };
    return { status: range ? 206 : 200, headers, body: part };
  }

  /** Large files lie in LFS under SHA-256, small ones in git. */
  private hashes(path: string, bytes: Buffer) {
    const git = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
    if (!path.endsWith(".safetensors")) return { oid: git };
    return {
      oid: git,
      lfs: { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length, pointerSize: 1 },
    };
  }
}

let hub: Hub;
let cacheDirectory: string;
let settings: { hubUrl: string; cacheDirectory: string };
beforeEach(async () => {
  hub = new Hub();
  for (const name of await readdir(foldling)) hub.files.set(name, await readFile(join(foldling, name)));
  hub.files.set("LICENSE", Buffer.from("Apache"));
  hub.files.set("quantize_config.json", Buffer.from("{}"));
  hub.files.set("README.md", Buffer.from("# tiny"));
  hub.files.set("pytorch_model.bin", Buffer.from("pickle"));
  await new Promise<void>((resolve) => hub.server.listen(0, "127.0.0.1", resolve));
  cacheDirectory = await mkdtemp(join(tmpdir(), "layerfold-hub-"));
  settings = { hubUrl: `http://127.0.0.1:${(hub.server.address() as AddressInfo).port}`, cacheDirectory };
});
afterEach(async () => {
  hub.server.closeAllConnections();
  await new Promise((resolve) => hub.server.close(resolve));
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
    await expect(pullModel("org/tiny", settings)).rejects.toThrow(code("HUB_UNREACHABLE"));
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
    await expect(pullModel("tiny", settings)).rejects.toThrow(code("HUB_NAME"));
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

describe("hubSettings", () => {
  it("reads the variables that huggingface_hub reads, the more special first", () => {
    expect(hubSettings({ HF_HOME: "/a", HF_TOKEN: "t", HF_ENDPOINT: "http://m" })).toEqual({
      cacheDirectory: "/a/hub",
      accessToken: "t",
      hubUrl: "http://m",
    });
    expect(hubSettings({ HF_HOME: "/a", HF_HUB_CACHE: "/b" }).cacheDirectory).toBe("/b");
    expect(hubSettings({ XDG_CACHE_HOME: "/c" }).cacheDirectory).toBe("/c/huggingface/hub");
    expect(hubSettings({}).cacheDirectory).toMatch(/\.cache\/huggingface\/hub$/);
  });
});
