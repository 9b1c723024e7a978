import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import { openCheckpoint, pullModel } from "@layerfold/checkpoint";
import { encodeJson, type FuzzTarget } from "../target.js";
import { modelFiles, tinyLlama } from "../tiny-model.js";

const commit = "0123456789abcdef0123456789abcdef01234567";

/** A hub's answers: what it says of a repository, its tree, and its files. */
export const hub: FuzzTarget = {
  id: "hub",
  async starts(scratch) {
    const repositories = [
      await modelFiles(scratch),
      await modelFiles(scratch, tinyLlama, { maxShardBytes: 10_000 }),
    ];
    return repositories.map((files) => {
      const tree = [...files].map(([path, bytes]) => ({
        type: "file",
        path,
        size: bytes.length,
        oid: createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex"),
        ...(path.endsWith(".safetensors") && {
          lfs: { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length, pointerSize: 1 },
        }),
      }));
      const answers: [string, Uint8Array][] = [
        ["info.json", encodeJson({ _id: "1", id: "org/tiny", sha: commit })],
        ["tree.json", encodeJson(tree)],
        ["headers.json", encodeJson({ "content-type": "application/json", etag: '"e"', link: "" })],
        ["status.json", encodeJson({ info: 200, tree: 200, whole: 200, part: 206 })],
      ];
      return new Map([...answers, ...[...files].map(([name, bytes]) => [`files/${name}`, bytes] as const)]);
    });
  },
  // What a file holds matters where the hub client itself reads it.
  changes: (name) => /^(info|tree|headers|status)\.json$|index\.json$/.test(name),
  async read(folder, out) {
    const server = createServer(async (request, response) => {
      const answer = await answerTo(folder, request.url ?? "", request.headers.range).catch(() => undefined);
      try {
        response.writeHead(answer?.status ?? 404, answer?.headers).end(answer?.body);
      } catch {
        // Node itself refuses to say such things.
        response.destroy();
      }
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const settings = {
        hubUrl: `http://127.0.0.1:${port}`,
        cacheDirectory: join(out, "cache"),
        accessToken: "hf_secret",
        // Seconds: a server that never answers is one of the inputs.
        retryDelay: 0.001,
        idleTimeout: 1,
        attempts: 3,
      };
      const snapshot = await pullModel("org/tiny", settings);
      await (await openCheckpoint(snapshot)).close();
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await checkCache(out);
    }
  },
};

/** Whatever a server says, only the repository's own folders come into being. */
async function checkCache(out: string): Promise<void> {
  const places: [folder: string, own: RegExp][] = [
    [out, /^cache$/],
    [join(out, "cache"), /^models--org--tiny$/],
    [join(out, "cache", "models--org--tiny"), /^(blobs|refs|snapshots)$/],
    [join(out, "cache", "models--org--tiny", "snapshots"), /^[0-9a-f]{40}$/],
    [join(out, "cache", "models--org--tiny", "blobs"), /^[0-9a-f]+(\.incomplete)?$/],
  ];
  for (const [folder, own] of places) {
    const strange = (await readdir(folder).catch(() => [])).find((name) => !own.test(name));
    if (strange !== undefined)
      throw new Error(`the cache holds what it should not: ${join(folder, strange)}`);
  }
}

async function answerTo(folder: string, address: string, range: string | undefined) {
  const json = async (name: string) => JSON.parse(await readFile(join(folder, name), "utf8"));
  const status = await json("status.json").catch(() => ({}));
  const headers = await json("headers.json").catch(() => ({}));
  const path = decodeURIComponent(new URL(address, "http://hub").pathname);
  if (path.startsWith("/api/models/org/tiny/tree/")) {
    return { status: status.tree, headers, body: await readFile(join(folder, "tree.json")) };
  }
  if (path.startsWith("/api/"))
    return { status: status.info, headers, body: await readFile(join(folder, "info.json")) };
  const bytes = await readFile(join(folder, "files", basename(path)));
  const [, from = "0", to = `${bytes.length - 1}`] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? [];
  const end = Math.min(Number(to || bytes.length - 1), bytes.length - 1);
  return {
    status: range ? status.part : status.whole,
    headers: { ...headers, "content-range": `bytes ${from}-${end}/${bytes.length}` },
    body: bytes.subarray(Number(from), end + 1),
  };
}
