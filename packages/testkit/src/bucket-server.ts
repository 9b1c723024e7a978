import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A server in this process that speaks as much of S3 as the store does, and heeds its conditions. */
export interface BucketServer {
  readonly url: string;
  /** By `BUCKET/KEY`. */
  readonly objects: Map<string, Buffer>;
  /** Uploads in parts that nobody has ended. */
  readonly uploads: Map<string, Map<number, Buffer>>;
  /** Requests so far: method and path. */
  readonly requests: string[];
  /** Asked before each request is answered: what is to go wrong with it, if anything. A lost answer is one to a request that was carried out. */
  fault?:
    | ((request: IncomingMessage) => { readonly status: number; readonly code: string } | "lost" | undefined)
    | undefined;
  /** Whether conditions are heeded; they are. */
  conditions: boolean;
  close(): Promise<void>;
}

/** @param buckets - that there are */
export async function startBucketServer(...buckets: readonly string[]): Promise<BucketServer> {
  const objects = new Map<string, Buffer>();
  const writtenAt = new WeakMap<Buffer, string>();
  const put = (path: string, body: Buffer) => {
    objects.set(path, body);
    writtenAt.set(body, new Date().toISOString());
  };
  const uploads = new Map<string, Map<number, Buffer>>();
  const requests: string[] = [];
  const http = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    requests.push(`${request.method} ${request.url}`);
    const fault = server.fault?.(request);
    if (fault !== "lost") return answer(request, response, Buffer.concat(chunks), fault);
    const unheard = new ServerResponse(request);
    answer(request, unheard, Buffer.concat(chunks));
    request.socket.destroy();
  });
  const server: BucketServer = {
    url: "",
    objects,
    uploads,
    requests,
    conditions: true,
    close: () => new Promise((resolve) => http.close(() => resolve()).closeAllConnections()),
  };
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  Object.assign(server, { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` });
  return server;

  function answer(
    { method, url, headers }: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
    fault?: { readonly status: number; readonly code: string },
  ): void {
    const { pathname, searchParams } = new URL(url!, "http://localhost");
    const path = decodeURIComponent(pathname.slice(1));
    const bucket = path.split("/")[0];
    const send = (status: number, content: string | Buffer = "", etag?: string) =>
      response.writeHead(status, { ...(etag && { etag }), "x-amz-request-id": "1" }).end(content);
    const refuse = (status: number, code: string) =>
      send(status, method === "HEAD" ? "" : `<Error><Code>${code}</Code><Message>${code}</Message></Error>`);
    if (fault) return void refuse(fault.status, fault.code);
    if (!buckets.includes(bucket)) return void refuse(404, "NoSuchBucket");
    const standing = objects.get(path);
    const id = searchParams.get("uploadId");
    if (path === bucket || path === `${bucket}/`) {
      if (searchParams.has("uploads"))
        return void send(200, uploadsXml(bucket, searchParams.get("prefix") ?? ""));
      return void send(200, listXml(bucket, searchParams));
    }
    if (method === "POST" && searchParams.has("uploads")) {
      const upload = `${path}#${randomUUID()}`;
      uploads.set(upload, new Map());
      return void send(
        200,
        `<InitiateMultipartUploadResult><UploadId>${upload}</UploadId></InitiateMultipartUploadResult>`,
      );
    }
    if (method === "PUT" && id !== null) {
      uploads.get(id)!.set(Number(searchParams.get("partNumber")), body);
      return void send(200, "", tagOf(body));
    }
    if (method === "POST" && id !== null) {
      const parts = [...uploads.get(id)!].sort(([a], [b]) => a - b).map(([, part]) => part);
      uploads.delete(id);
      const whole = Buffer.concat(parts);
      put(path, whole);
      return void send(
        200,
        `<CompleteMultipartUploadResult><ETag>${tagOf(whole)}</ETag></CompleteMultipartUploadResult>`,
      );
    }
    if (method === "DELETE" && id !== null) {
      uploads.delete(id);
      return void send(204);
    }
    const { "if-none-match": absent, "if-match": match } = server.conditions ? headers : {};
    if (absent === "*" && standing) return void refuse(412, "PreconditionFailed");
    if (match !== undefined) {
      if (!standing) return void refuse(404, "NoSuchKey");
      if (match !== tagOf(standing)) return void refuse(412, "PreconditionFailed");
    }
    if (method === "PUT") {
      put(path, body);
      return void send(200, "", tagOf(body));
    }
    if (method === "DELETE") {
      objects.delete(path);
      return void send(204);
    }
    if (!standing) return void refuse(404, "NoSuchKey");
    send(200, method === "HEAD" ? "" : standing, tagOf(standing));
  }

  /** Two a page, so that whoever asks must turn it. */
  function listXml(bucket: string, query: URLSearchParams): string {
    const start = `${bucket}/${query.get("prefix") ?? ""}`;
    const after = query.get("continuation-token") ?? "";
    const keys = [...objects.keys()].filter((key) => key.startsWith(start) && key > after).sort();
    const page = keys.slice(0, 2);
    const contents = page.map((key) => {
      const object = objects.get(key)!;
      const name = key.slice(bucket.length + 1);
      const written = writtenAt.get(object) ?? new Date(0).toISOString();
      return `<Contents><Key>${name}</Key><LastModified>${written}</LastModified><Size>${object.length}</Size><ETag>${tagOf(object)}</ETag></Contents>`;
    });
    const next = keys.length > 2 ? `<NextContinuationToken>${page[1]}</NextContinuationToken>` : "";
    return `<ListBucketResult><IsTruncated>${keys.length > 2}</IsTruncated>${next}${contents.join("")}</ListBucketResult>`;
  }

  function uploadsXml(bucket: string, prefix: string): string {
    const found = [...uploads.keys()].filter((upload) => upload.startsWith(`${bucket}/${prefix}`));
    const entries = found.map((upload) => {
      const key = upload.slice(bucket.length + 1, upload.lastIndexOf("#"));
      return `<Upload><Key>${key}</Key><UploadId>${upload}</UploadId></Upload>`;
    });
    return `<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>${entries.join("")}</ListMultipartUploadsResult>`;
  }
}

function tagOf(content: Buffer): string {
  return `"${createHash("md5").update(content).digest("hex")}"`;
}
