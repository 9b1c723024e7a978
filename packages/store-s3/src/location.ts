import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { LayerfoldError } from "@layerfold/core";

/** Where a store lies. */
export interface S3Location {
  readonly bucket: string;
  /** Of every key, with `/` at its end; empty where the bucket is the store. */
  readonly prefix: string;
}

/** @param location - `s3://BUCKET/PREFIX` or `s3://BUCKET` @throws STORE_LOCATION */
export function parseLocation(location: string): S3Location {
  const [, bucket, path] = /^s3:\/\/([^/]*)\/?(.*?)\/?$/s.exec(location) ?? [];
  const parts = path === undefined || path === "" ? [] : path.split("/");
  const named = bucket !== undefined && /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket);
  if (!named || parts.some((part) => !/^[\w!.*'()@=+ -]+$/.test(part) || /^\.\.?$/.test(part))) {
    throw new LayerfoldError("STORE_LOCATION", "not a place in a bucket", {
      wanted: "s3://BUCKET/PREFIX",
      got: location,
    });
  }
  return { bucket, prefix: parts.map((part) => `${part}/`).join("") };
}

export function locationText({ bucket, prefix }: S3Location): string {
  return `s3://${bucket}/${prefix}`.replace(/\/$/, "");
}

/**
 * The folder of this machine where what has been read from a store lies, what is being made, and what must lie on a disk.
 * @param cache - parent of all such folders; default: $LAYERFOLD_STORE_CACHE, else `layerfold/stores` in $XDG_CACHE_HOME or `~/.cache`
 */
export function localFolder(location: string, cache?: string): string {
  const place = parseLocation(location);
  const { env } = process;
  const parent =
    cache ??
    (env.LAYERFOLD_STORE_CACHE ||
      join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "layerfold", "stores"));
  // The same name may mean another bucket on another server.
  const server = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || "";
  const key = JSON.stringify([server, env.AWS_PROFILE ?? "", place.bucket, place.prefix]);
  return join(
    resolve(parent),
    `${place.bucket}-${createHash("sha256").update(key).digest("hex").slice(0, 16)}`,
  );
}
