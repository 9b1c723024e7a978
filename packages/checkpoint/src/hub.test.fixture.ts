import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const foldling = fileURLToPath(new URL("../../../models/foldling/checkpoint/", import.meta.url));
export const commit = "0123456789abcdef0123456789abcdef01234567";

/** A repository as the hub serves it: what it is at, its tree, and its files by range. */
export class Hub {
  files = new Map<string, Buffer>();
  requests: { url: string; range: string | undefined; authorization: string | undefined }[] = [];
  /** Cut the connection after so many bytes of a large file. */
  cutAfter = Number.POSITIVE_INFINITY;
  corrupt = false;
  token: string | undefined;
  sha: unknown = commit;
  /** What the tree says of a file, in place of the truth. */
  lies: Record<string, object> = {};
  /** Answers once each, in place of what was asked for. */
  instead: { status: number; headers?: Record<string, string> }[] = [];
  /** Answers a request in its own way, or not at all; false: as ever. */
  odd: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  /** Where the tree goes on. */
  next: string | undefined;
  server: Server = createServer((request, response) => {
    if (this.odd(request, response)) return;
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
    const failure = this.instead.shift();
    if (failure) return { headers: {}, ...failure, body: Buffer.alloc(0) };
    const json = (value: unknown) => ({
      status: 200,
      headers: {
        "content-type": "application/json",
        ...(this.next && url.includes("/tree/") && { link: `<${this.next}>; rel="next"` }),
      },
      body: Buffer.from(JSON.stringify(value)),
    });
    if (this.token && authorization !== `Bearer ${this.token}`)
      return { status: 401, headers: {}, body: Buffer.alloc(0) };
    if (/^\/api\/models\/org\/tiny\/revision\/(main|v1|[0-9a-f]{40})$/.test(url))
      return json({ _id: "1", id: "org/tiny", sha: this.sha });
    if (url === `/api/models/org/tiny/tree/${commit}`) {
      return json(
        [...this.files].map(([path, bytes]) => ({
          type: "file",
          path,
          size: bytes.length,
          ...this.hashes(path, bytes),
          ...this.lies[path],
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

/** Serves foldling and some files more, at `hub.url`. */
export async function openHub(): Promise<Hub & { url: string }> {
  const hub = new Hub();
  for (const name of await readdir(foldling)) hub.files.set(name, await readFile(join(foldling, name)));
  hub.files.set("LICENSE", Buffer.from("Apache"));
  hub.files.set("quantize_config.json", Buffer.from("{}"));
  hub.files.set("README.md", Buffer.from("# tiny"));
  hub.files.set("pytorch_model.bin", Buffer.from("pickle"));
  return Object.assign(hub, { url: await listen(hub.server) });
}

/** @returns its address, on loopback */
export async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export async function shut(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
