import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, lstat, open, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { makeFolder, syncFile, syncFolder } from "@layerfold/disk";
import type { HubConnection } from "./hub-connection.js";
import type { HubFile } from "./hub-names.js";

/**
 * Brings one file into blobs/HASH, with a link to it from the snapshot. A download that was cut off goes on where it stopped, never writes
 * more than was announced, and gets its name only when its hash is right. What lies in the cache is held against the announced size, and
 * against its hash before a snapshot names it.
 * @param source - where the file lies on the hub
 * @throws HUB_CORRUPT, CACHE_CORRUPT, HUB_UNREACHABLE, INTERRUPTED
 */
export async function pullFile(
  hub: HubConnection,
  source: string,
  file: HubFile,
  storage: string,
  snapshot: string,
  progress: (done: number) => void,
): Promise<void> {
  const { path, hash, size } = file;
  const blobs = join(storage, "blobs");
  const blob = join(blobs, hash);
  const link = join(snapshot, path);
  if (await isThere(blob, file)) {
    // What a snapshot names already was checked when it was linked, be it by us or by huggingface_hub.
    if (!(await isThere(link, file))) {
      const got = await hashOf(blob, file, hub.signal);
      if (got !== hash) throw spoilt(blob, hash, got);
    }
  } else {
    const partial = `${blob}.incomplete`;
    await makeFolder(blobs);
    let done = (await stat(partial).catch(() => undefined))?.size ?? 0;
    if (done < size || size === 0) {
      const take = async (chunks: AsyncIterable<Uint8Array>, offset: number) => {
        done = offset;
        const out = await open(partial, offset > 0 ? "a" : "w");
        try {
          for await (const chunk of chunks) {
            if (done + chunk.length > size) throw await corrupt(partial, `${size} bytes`, "more", path);
            await out.writeFile(chunk);
            done += chunk.length;
            progress(done);
          }
        } finally {
          await out.close();
        }
      };
      // What was read but not written when the connection broke is asked for again.
      const written = async () => (done = (await stat(partial).catch(() => undefined))?.size ?? 0);
      await hub.read(source, size, written, take);
    }
    const got = await hashOf(partial, file, hub.signal);
    if (got !== hash) throw await corrupt(partial, hash, got, path);
    await syncFile(partial);
    await rename(partial, blob);
    await syncFolder(blobs);
  }
  progress(size);
  if (await isThere(link, file)) return;
  if (!(await lstat(link).catch(() => undefined))) {
    await makeFolder(dirname(link));
    const target = join(...path.split("/").map(() => ".."), "..", "blobs", hash);
    // Where links are not allowed (Windows without rights) a copy does.
    await symlink(target, link).catch(() => copyFile(blob, link));
  }
  if (!(await isThere(link, file))) throw spoilt(link, `a link to ${blob}`, "a link to nothing");
}

/** @throws CACHE_CORRUPT where something else has the name, which is not ours to delete */
async function isThere(name: string, { size }: HubFile): Promise<boolean> {
  const found = await stat(name).catch(() => undefined);
  if (!found) return false;
  if (found.isFile() && found.size === size) return true;
  throw spoilt(name, `a file of ${size} bytes`, found.isFile() ? `${found.size} bytes` : "no file");
}

function spoilt(where: string, wanted: string, got: string): LayerfoldError {
  return new LayerfoldError(
    "CACHE_CORRUPT",
    "the hub's cache holds something else than the hub; delete it and try again",
    { wanted, got, where, fault: "environment" },
  );
}

/** A large file's hash is SHA-256 of its bytes, a small one's is git's: SHA-1 of a header and the bytes. */
async function hashOf(
  name: string,
  { size, large }: HubFile,
  signal: AbortSignal | undefined,
): Promise<string> {
  const digest = large ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  for await (const chunk of createReadStream(name, { signal })) digest.update(chunk);
  return digest.digest("hex");
}

async function corrupt(partial: string, wanted: string, got: string, where: string) {
  await rm(partial, { force: true });
  return new LayerfoldError(
    "HUB_CORRUPT",
    "a download does not have the bytes that the hub announced; try again",
    { wanted, got, where, fault: "environment" },
  );
}
