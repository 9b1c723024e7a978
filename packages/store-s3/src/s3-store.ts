import { readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Diagnostic, isLayerfoldError } from "@layerfold/core";
import { fileError, scratchFolder } from "@layerfold/disk";
import {
  type Artefact,
  type ArtefactRecord,
  folderStore,
  type LeaseOptions,
  parseRecord,
  recordFile,
  type Task,
  type TaskStore,
} from "@layerfold/tasks";
import { beginStore, standsIn } from "./begin.js";
import { type Bucket, openBucket } from "./bucket.js";
import { bucketLeases, leaseHolders } from "./lease.js";
import { localFolder, locationText, parseLocation } from "./location.js";
import { bucketNotes } from "./notes.js";
import { type RemoteArtefact, remoteArtefacts } from "./remote-artefacts.js";

export interface S3StoreOptions extends LeaseOptions {
  /** Parent of the folder on this machine; see `localFolder`. */
  readonly cache?: string | undefined;
  /** Breaks off files that are on their way. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * A store in a bucket:
 *
 * ```
 * layerfold-store.json         that it is one
 * artefacts/KIND/DIGEST/       artefact.json, and under UPLOAD/ the value's files
 * leases/                      who is making what
 * stages/                      what is to be done, for workers
 * failures/                    what failed there
 * ```
 *
 * What is read is copied once to a folder of this machine, which is a folder store itself and may serve several processes; it holds the scratch
 * folders too. Looking whether an artefact stands copies nothing.
 *
 * @param location - `s3://BUCKET/PREFIX`
 * @throws STORE_LOCATION, STORE_FOREIGN, STORE_OTHER_VERSION, BUCKET_UNCONDITIONAL where the server knows no conditional writes, and `bucketError`'s codes
 */
export async function s3Store(location: string, options: S3StoreOptions = {}): Promise<TaskStore> {
  return (await openParts(location, options)).store;
}

/** The same, with what it is made of. */
export async function openParts(
  location: string,
  options: S3StoreOptions,
): Promise<{ readonly store: TaskStore; readonly bucket: Bucket; readonly folder: string }> {
  const place = parseLocation(location);
  const bucket = openBucket(place, options.signal);
  await beginStore(bucket, locationText(place));
  const folder = localFolder(location, options.cache);
  const local = await folderStore(folder);
  return { store: storeOf(locationText(place), bucket, local, options), bucket, folder };
}

function storeOf(location: string, bucket: Bucket, local: TaskStore, options: S3StoreOptions): TaskStore {
  const remote = remoteArtefacts(bucket);

  const artefactOf = <T>(found: RemoteArtefact, codec: Task<T>["codec"]): Artefact<T> => {
    const { digest, kind, diagnostics } = found.record;
    let path: Promise<string> | undefined;
    return {
      digest,
      path: join(local.location, "artefacts", kind, digest, codec.name),
      diagnostics,
      async read() {
        path ??= copyOf(found);
        return codec.read(await path);
      },
    };
  };

  /** @returns where its value lies on this machine @throws ARTEFACT_DAMAGED */
  async function copyOf(found: RemoteArtefact): Promise<string> {
    const standing = await local.find(recordedTask(found.record));
    if (standing && sameFiles(await recordAt(standing), found.record)) return standing.path;
    return copied(found);
  }

  /** The same, from the bucket in any case. What is not as the record says counts as not there from then on. */
  async function copied(found: RemoteArtefact): Promise<string> {
    const { record } = found;
    const aside = await scratchFolder(record.kind, join(local.location, "temporary"));
    try {
      await remote.download(found, aside);
      const { diagnostics, seconds } = record;
      const task = recordedTask(record, (path) => rename(join(aside, record.value), path));
      await local.remove(record);
      const artefact = await local.put(task, { value: undefined, diagnostics, seconds });
      if (sameFiles(await recordAt(artefact), record)) return artefact.path;
      await local.remove(record);
      throw remote.damaged(record, "another checksum");
    } catch (error) {
      if (isLayerfoldError(error, "ARTEFACT_DAMAGED")) await remote.remove(record, found.etag);
      throw fileError(error, aside);
    } finally {
      await rm(aside, { recursive: true, force: true });
    }
  }

  /** What is wrong with what stands in the bucket. */
  async function damageOf(
    found: RemoteArtefact,
    task: Pick<Task, "kind" | "digest">,
  ): Promise<string | undefined> {
    const { damage, etags } = await remote.look(found, task);
    if (damage !== undefined || etags === undefined) return damage;
    try {
      await copied(found);
      await remote.note(found, etags);
      return undefined;
    } catch (error) {
      if (!isLayerfoldError(error, "ARTEFACT_DAMAGED")) throw error;
      return "another checksum";
    }
  }

  async function find<T>(
    task: Pick<Task<T>, "digest" | "kind" | "codec">,
    report?: (event: Diagnostic) => void,
  ): Promise<Artefact<T> | undefined> {
    const found = await remote.read(task);
    if (!found) return undefined;
    const damage = found === "unreadable" ? `${recordFile} cannot be read` : await damageOf(found, task);
    if (damage === undefined) return artefactOf(found as RemoteArtefact, task.codec);
    const etag = typeof found === "object" ? found.etag : undefined;
    await remote.remove(task, etag);
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "ARTEFACT_DAMAGED",
      message: `${location}: ${task.kind} ${task.digest.slice(0, 12)} no longer has the bytes that were written (${damage}); it is made again`,
    });
    return undefined;
  }

  return {
    location,
    logs: local.logs,
    find,
    has: (task) => remote.has(task),
    async put(task, made) {
      // Of a try whose upload failed, or of an artefact that was removed elsewhere.
      await local.remove(task);
      const artefact = await local.put(task, made);
      const put = await remote.put(await recordAt(artefact), dirname(artefact.path));
      return artefactOf(put, task.codec);
    },
    lease: bucketLeases(bucket, options),
    holders: () => leaseHolders(bucket),
    scratch: (task) => local.scratch(task),
    list: () => remote.list(),
    localBytes: (kinds) => local.localBytes(kinds),
    async remove(record) {
      await remote.remove(record);
      await local.remove(record);
    },
    notes: bucketNotes(bucket),
    stands: () => standsIn(bucket),
  };
}

/** A record as the task that it tells of. @param write - puts the value to a path */
function recordedTask(
  record: ArtefactRecord,
  write: (path: string) => Promise<void> = async () => undefined,
): Task<undefined> {
  const inputs = Object.entries(record.inputs).map(([name, digest]) => [
    name,
    { digest, path: "", diagnostics: [], read: async () => undefined },
  ]);
  return {
    ...record,
    inputs: Object.fromEntries(inputs),
    resources: { threads: 1, bytes: 0 },
    codec: { name: record.value, write: (_, path) => write(path), read: async () => undefined },
    run: async () => undefined,
  };
}

/** What the disk says of an artefact that lies there. */
async function recordAt({ path }: Pick<Artefact, "path">): Promise<ArtefactRecord> {
  const { noted: _, ...record } = JSON.parse(await readFile(join(dirname(path), recordFile), "utf8"));
  return parseRecord(JSON.stringify(record))!;
}

function sameFiles(a: ArtefactRecord, b: ArtefactRecord): boolean {
  const names = Object.keys(a.files);
  return (
    names.length === Object.keys(b.files).length &&
    names.every((name) => a.files[name].sha256 === b.files[name]?.sha256)
  );
}
