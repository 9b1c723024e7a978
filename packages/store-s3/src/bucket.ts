import { createReadStream, createWriteStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { throwIfAborted } from "@layerfold/core";
import { isFileError } from "@layerfold/disk";
import { bucketError, isAbsent, isConflict } from "./bucket-error.js";
import { locationText, type S3Location } from "./location.js";

/** An object as a listing tells of it. */
export interface ListedObject {
  /** Behind the prefix. */
  readonly key: string;
  readonly bytes: number;
  /** Changes with the content. */
  readonly etag: string;
  /** When it was written, by the server's clock; milliseconds since 1970. */
  readonly writtenAt: number;
}

export interface ReadObject {
  readonly text: string;
  readonly etag: string;
}

/** That an object must not stand yet, or that it must still be the one with this tag. */
export type Condition = "absent" | { readonly etag: string };

/** Objects behind a prefix, by keys without it. All throw BUCKET_MISSING, BUCKET_DENIED, BUCKET_UNREACHABLE … */
export interface Bucket {
  /** @returns nothing where there is no such object */
  read(key: string): Promise<ReadObject | undefined>;
  has(key: string): Promise<boolean>;
  /** @returns its tag; nothing where the condition is not met */
  write(key: string, text: string, condition?: Condition): Promise<string | undefined>;
  /** @returns its tag */
  upload(key: string, file: string): Promise<string>;
  /** @returns whether there is such an object */
  download(key: string, file: string): Promise<boolean>;
  /** In order of their keys. */
  list(folder: string): AsyncIterable<ListedObject>;
  /** An object that is not there, or not the one with this tag, is none to be removed. */
  remove(key: string, etag?: string): Promise<void>;
  /** Ends uploads that nobody will finish. @param folder - that nobody is at work in */
  removeUploads(folder: string): Promise<void>;
}

/** Larger files go up in parts of this size, some at a time. */
const partBytes = 2 ** 24;
const mostParts = 10_000;

/** @param signal - breaks off files that are on their way; small objects, such as a lease that is given back, still go */
export function openBucket(location: S3Location, signal?: AbortSignal): Bucket {
  const { bucket: Bucket, prefix } = location;
  const client = s3Client();
  const keyOf = (key: string) => `${prefix}${key}`;

  async function asked<T>(key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isFileError(error) && error.path !== undefined) throw error;
      throw bucketError(error, key === "" ? locationText(location) : `s3://${Bucket}/${keyOf(key)}`);
    }
  }

  /** The same of what may take long. */
  const carried = <T>(key: string, work: () => Promise<T>): Promise<T> =>
    asked(key, async () => {
      throwIfAborted(signal);
      try {
        return await work();
      } finally {
        throwIfAborted(signal);
      }
    });

  const unlessAbsent = (error: unknown): undefined => {
    if (!isAbsent(error)) throw error;
  };

  async function* pages(folder: string): AsyncIterable<readonly ListedObject[]> {
    for (let token: string | undefined; ; ) {
      const page = await asked(folder, () =>
        client.send(
          new ListObjectsV2Command({
            Bucket,
            Prefix: keyOf(folder),
            ...(token && { ContinuationToken: token }),
          }),
        ),
      );
      yield (page.Contents ?? []).map(({ Key, Size, ETag, LastModified }) => ({
        key: Key!.slice(prefix.length),
        bytes: Size!,
        etag: ETag!,
        writtenAt: LastModified!.getTime(),
      }));
      token = page.NextContinuationToken;
      if (!page.IsTruncated || token === undefined) return;
    }
  }

  return {
    read: (key) =>
      asked(key, async () => {
        const got = await client.send(new GetObjectCommand({ Bucket, Key: keyOf(key) })).catch(unlessAbsent);
        return got && { text: await got.Body!.transformToString(), etag: got.ETag! };
      }),
    has: (key) =>
      asked(key, async () => {
        const head = await client
          .send(new HeadObjectCommand({ Bucket, Key: keyOf(key) }))
          .catch(unlessAbsent);
        return head !== undefined;
      }),
    write: (key, text, condition) =>
      asked(key, async () => {
        const put = new PutObjectCommand({
          Bucket,
          Key: keyOf(key),
          Body: text,
          ContentType: "application/json",
          ...(condition === "absent" && { IfNoneMatch: "*" }),
          ...(typeof condition === "object" && { IfMatch: condition.etag }),
        });
        const written = await client.send(put).catch((error) => {
          const unmet = condition !== undefined && (isConflict(error) || isAbsent(error));
          if (!unmet) throw error;
        });
        return written?.ETag;
      }),
    upload: (key, file) =>
      carried(key, async () => {
        const { size } = await stat(file);
        if (size <= partBytes) {
          const put = new PutObjectCommand({ Bucket, Key: keyOf(key), Body: await readFile(file) });
          return (await client.send(put, { ...(signal && { abortSignal: signal }) })).ETag!;
        }
        const content = createReadStream(file);
        // Its own way of breaking off does not wait until the parts are gone.
        const stop = () => content.destroy(signal!.reason);
        signal?.addEventListener("abort", stop, { once: true });
        try {
          const upload = new Upload({
            client,
            params: { Bucket, Key: keyOf(key), Body: content },
            partSize: Math.max(partBytes, Math.ceil(size / mostParts)),
          });
          return (await upload.done()).ETag!;
        } finally {
          signal?.removeEventListener("abort", stop);
        }
      }),
    download: (key, file) =>
      carried(key, async () => {
        const got = await client
          .send(new GetObjectCommand({ Bucket, Key: keyOf(key) }), { ...(signal && { abortSignal: signal }) })
          .catch(unlessAbsent);
        if (!got) return false;
        await pipeline(got.Body as Readable, createWriteStream(file, { flags: "wx" }), {
          ...(signal && { signal }),
        });
        return true;
      }),
    async *list(folder) {
      for await (const page of pages(folder)) yield* page;
    },
    remove: (key, etag) =>
      asked(key, async () => {
        const gone = new DeleteObjectCommand({
          Bucket,
          Key: keyOf(key),
          ...(etag !== undefined && { IfMatch: etag }),
        });
        await client.send(gone).catch((error) => {
          if (!isAbsent(error) && !isConflict(error)) throw error;
        });
      }),
    removeUploads: (folder) =>
      asked(folder, async () => {
        for (;;) {
          const { Uploads = [], IsTruncated } = await client.send(
            new ListMultipartUploadsCommand({ Bucket, Prefix: keyOf(folder) }),
          );
          for (const { Key, UploadId } of Uploads)
            await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId })).catch(unlessAbsent);
          if (!IsTruncated || Uploads.length === 0) return;
        }
      }),
  };
}

/** Region, endpoint and credentials come from where all programs of the SDK take them. */
function s3Client(): S3Client {
  const config: S3ClientConfig = {
    requestHandler: { connectionTimeout: 10_000 },
    // A server that is started anew is waited for.
    ...(process.env.AWS_MAX_ATTEMPTS === undefined && { maxAttempts: 8 }),
    // A server of one's own rarely has a name for every bucket.
    forcePathStyle: (async () => (await client.config.serviceConfiguredEndpoint?.()) !== undefined) as never,
  };
  const client: S3Client = new S3Client(config);
  return client;
}
