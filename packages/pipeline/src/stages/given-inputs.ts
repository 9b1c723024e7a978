import { basename } from "node:path";
import type { Checkpoint } from "@layerfold/checkpoint";
import type { Artefact } from "@layerfold/tasks";
import { type FileFact, fileFingerprint } from "../manifest.js";
import type { Run } from "../run.js";
import { givenModel, type StoredModel } from "../tasks/stored-model.js";

/** An open checkpoint, to be run where the run says, as what tasks read. */
export async function modelOf(
  checkpoint: Pick<Checkpoint, "directory" | "fingerprint">,
  { place }: Pick<Run, "place">,
): Promise<Artefact<StoredModel>> {
  return givenModel(checkpoint.directory, await checkpoint.fingerprint(), place);
}

/** A file or folder from outside as what tasks read: known by its content. @throws as `fileFingerprint` */
export async function givenFile<T>(path: string, read: () => Promise<T>): Promise<Artefact<T>> {
  return { digest: await fileFingerprint(path), path, diagnostics: [], read };
}

/** What a manifest says of it: a large file is not hashed again. */
export function givenFact({ path, digest }: Artefact): FileFact {
  return { name: basename(path), sha256: digest };
}
