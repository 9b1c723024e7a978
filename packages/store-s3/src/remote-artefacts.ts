import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { type ArtefactRecord, parseRecord, recordFile } from "@layerfold/tasks";
import type { Bucket } from "./bucket.js";
import { inParallel } from "./in-parallel.js";

/** An artefact that has its record in the bucket, and so is whole. */
export interface RemoteArtefact {
  readonly record: ArtefactRecord;
  /** Part of its files' keys, so that two that make it at once do not write to the same. */
  readonly upload: string;
  /** Tags of its files' objects when they were written. */
  readonly etags: Readonly<Record<string, string>>;
  /** Of its record's object. */
  readonly etag: string;
}

type Named = Pick<ArtefactRecord, "kind" | "digest">;

/**
 * Artefacts in a bucket:
 *
 * ```
 * artefacts/KIND/DIGEST/UPLOAD/…        the value's files
 * artefacts/KIND/DIGEST/artefact.json   written last, and only where none stands
 * ```
 */
export function remoteArtefacts(bucket: Bucket) {
  const placeOf = ({ kind, digest }: Named) => `artefacts/${kind}/${digest}/`;
  const recordKey = (named: Named) => `${placeOf(named)}${recordFile}`;

  const readAt = async (key: string): Promise<RemoteArtefact | "unreadable" | undefined> => {
    const found = await bucket.read(key);
    if (!found) return undefined;
    const record = parseRecord(found.text);
    if (!record) return "unreadable";
    const { upload = "", etags = {} } = JSON.parse(found.text) as Partial<RemoteArtefact>;
    return { record, upload, etags, etag: found.etag };
  };

  const removeFiles = async (folder: string) =>
    inParallel(bucket.list(folder), ({ key }) =>
      key.endsWith(`/${recordFile}`) ? Promise.resolve() : bucket.remove(key),
    );

  return {
    read: (named: Named) => readAt(recordKey(named)),
    has: (named: Named) => bucket.has(recordKey(named)),

    /**
     * What a listing shows to be wrong with it. That a file is not the very object that was written, though it is as large, says nothing yet: a
     * bucket may have been copied.
     * @returns what is wrong; `etags` where its bytes are to be looked at, and may be noted if they are right
     */
    async look(
      { record, upload, etags }: RemoteArtefact,
      named: Named,
    ): Promise<{ readonly damage?: string; readonly etags?: RemoteArtefact["etags"] }> {
      if (record.digest !== named.digest) return { damage: `${recordFile} is another artefact's` };
      const folder = `${placeOf(named)}${upload}/`;
      const standing = new Map<string, { readonly bytes: number; readonly etag: string }>();
      for await (const { key, ...facts } of bucket.list(folder))
        standing.set(key.slice(folder.length), facts);
      const now: Record<string, string> = {};
      for (const [name, { bytes }] of Object.entries(record.files)) {
        const found = standing.get(name);
        if (!found) return { damage: `${name} is gone` };
        if (found.bytes !== bytes) return { damage: `${name} has ${found.bytes} bytes, not ${bytes}` };
        now[name] = found.etag;
      }
      return Object.keys(now).some((name) => now[name] !== etags[name]) ? { etags: now } : {};
    },

    /** Notes the tags of files whose bytes were found to be right, so that they need not be looked at again. */
    async note({ record, upload, etag }: RemoteArtefact, etags: RemoteArtefact["etags"]): Promise<void> {
      await bucket.write(recordKey(record), textOf({ record, upload, etags }), { etag });
    },

    /** Files first, the record last. @returns what stands then: this, or what another process had put there */
    async put(record: ArtefactRecord, folder: string): Promise<RemoteArtefact> {
      const upload = randomUUID();
      const place = `${placeOf(record)}${upload}/`;
      const etags: Record<string, string> = {};
      try {
        await inParallel(Object.keys(record.files), async (name) => {
          etags[name] = await bucket.upload(`${place}${name}`, join(folder, name));
        });
        for (;;) {
          const etag = await bucket.write(recordKey(record), textOf({ record, upload, etags }), "absent");
          if (etag !== undefined) return { record, upload, etags, etag };
          const standing = await readAt(recordKey(record));
          // Removed in this moment.
          if (!standing) continue;
          if (standing === "unreadable") {
            await bucket.remove(recordKey(record));
            continue;
          }
          if (standing.upload !== upload) await removeFiles(place);
          return standing;
        }
      } catch (error) {
        // Without a record they count for nothing.
        await removeFiles(place).catch(() => undefined);
        throw error;
      }
    },

    /** Its files, in a folder that is empty. @throws ARTEFACT_DAMAGED where one is gone */
    async download({ record, upload }: RemoteArtefact, folder: string): Promise<void> {
      const names = Object.keys(record.files);
      if (names.length === 0) await mkdir(join(folder, record.value));
      await inParallel(names, async (name) => {
        const file = join(folder, name);
        await mkdir(dirname(file), { recursive: true });
        if (!(await bucket.download(`${placeOf(record)}${upload}/${name}`, file)))
          throw damaged(placeOf(record), `${name} is gone`);
      });
    },

    async *list(): AsyncIterable<ArtefactRecord> {
      const keys: string[] = [];
      for await (const { key } of bucket.list("artefacts/")) {
        if (key.endsWith(`/${recordFile}`) && key.split("/").length === 4) keys.push(key);
      }
      for (let start = 0; start < keys.length; start += 64) {
        const found: ArtefactRecord[] = [];
        await inParallel(keys.slice(start, start + 64), async (key) => {
          const artefact = await readAt(key);
          if (typeof artefact === "object") found.push(artefact.record);
        });
        yield* found;
      }
    },

    /** Its record first, so that nobody finds half of it. @param etag - of the record that is meant; absent: whatever stands */
    async remove(named: Named, etag?: string): Promise<void> {
      const standing = etag === undefined ? undefined : await bucket.read(recordKey(named));
      if (standing && standing.etag !== etag) return;
      await bucket.remove(recordKey(named), etag);
      await removeFiles(placeOf(named));
    },

    damaged: (named: Named, reason: string) => damaged(placeOf(named), reason),
  };
}

function textOf({ record, ...others }: Omit<RemoteArtefact, "etag">): string {
  return `${JSON.stringify({ ...record, ...others }, null, 2)}\n`;
}

function damaged(where: string, reason: string): LayerfoldError {
  return new LayerfoldError(
    "ARTEFACT_DAMAGED",
    `what lies in the bucket no longer has the bytes that were written (${reason}); the same command makes it again`,
    { where, fault: "environment" },
  );
}
