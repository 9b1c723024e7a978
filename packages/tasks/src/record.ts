import { stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "@layerfold/core";
import { fileSha256, filesIn } from "@layerfold/disk";
import { inputDigest, type Task } from "./task.js";
import type { ArtefactFile, ArtefactRecord, Made } from "./task-store.js";

/** Beside an artefact's value. */
export const recordFile = "artefact.json";

/** Larger files are hashed again only where size or time of change are no longer those that were noted. */
const alwaysHashed = 2 ** 26;

const schema = z.object({
  digest: z.string(),
  kind: z.string(),
  parameters: z.json(),
  inputs: z.record(z.string(), z.string()),
  code: z.string(),
  value: z.string(),
  files: z.record(z.string(), z.object({ bytes: z.number(), sha256: z.string() })),
  diagnostics: z.array(
    z.looseObject({
      type: z.literal("diagnostic"),
      severity: z.enum(["info", "warning"]),
      code: z.string(),
      message: z.string(),
    }),
  ),
  seconds: z.number(),
});

const localSchema = schema.extend({ noted: z.record(z.string(), z.number()) });

/** As `artefact.json` holds it on a disk. */
interface LocalRecord extends ArtefactRecord {
  /** When each file was last changed, milliseconds since 1970. */
  readonly noted: Readonly<Record<string, number>>;
}

/** The record of a value that was just written. @param folder - that holds nothing else */
export async function recordOf(
  { digest, kind, parameters, inputs, code, codec }: Task,
  { diagnostics, seconds }: Made<unknown>,
  folder: string,
): Promise<LocalRecord> {
  const files: Record<string, ArtefactFile> = {};
  const noted: Record<string, number> = {};
  for (const name of (await filesIn(folder)).sort()) {
    const file = join(folder, name);
    const { size, mtimeMs } = await stat(file);
    files[name] = { bytes: size, sha256: await fileSha256(file) };
    noted[name] = mtimeMs;
  }
  const digests = Object.entries(inputs).flatMap(([name, input]) =>
    input ? [[name, inputDigest(input)]] : [],
  );
  return {
    digest,
    kind,
    parameters,
    inputs: Object.fromEntries(digests),
    code,
    value: codec.name,
    files,
    noted,
    diagnostics,
    seconds,
  };
}

/** @returns what is wrong with an artefact in a folder, or its record */
export async function damageOf(
  folder: string,
  text: string,
  digest: string,
): Promise<string | ArtefactRecord> {
  const record = parse<LocalRecord>(localSchema, text);
  if (!record) return `${recordFile} cannot be read`;
  if (record.digest !== digest) return `${recordFile} is another artefact's`;
  for (const [name, { bytes, sha256: wanted }] of Object.entries(record.files)) {
    const file = join(folder, name);
    const found = await stat(file).catch(ignoreMissing);
    if (!found) return `${name} is gone`;
    if (found.size !== bytes) return `${name} has ${found.size} bytes, not ${bytes}`;
    const untouched = found.mtimeMs === record.noted[name];
    if (untouched && bytes > alwaysHashed) continue;
    if ((await fileSha256(file)) !== wanted) return `${name} has another checksum`;
  }
  const unknown = (await filesIn(folder)).find((name) => name !== recordFile && !(name in record.files));
  return unknown === undefined ? record : `${unknown} was added`;
}

/** What a record's text says, whatever else a store notes in it. @returns nothing for any other text */
export function parseRecord(text: string): ArtefactRecord | undefined {
  return parse<ArtefactRecord>(schema, text);
}

function parse<T extends ArtefactRecord>(as: z.ZodType, text: string): T | undefined {
  try {
    return as.safeParse(JSON.parse(text)).data as T | undefined;
  } catch {
    return undefined;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
}
