import { readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { LayerfoldError, z } from "@layerfold/core";
import {
  checkWritable,
  errorOfPath,
  fileError,
  makeFolder,
  realPath,
  refuseInputs,
  sweepLeftovers,
  syncFolder,
  temporaryBeside,
  writeWholeFile,
} from "@layerfold/disk";
import { type FileFact, fileFingerprint, manifestOf, type RunFacts } from "./manifest.js";
import { writeJson } from "./outputs.js";
import type { Run } from "./run.js";

/** A file's text, or what writes it whole to the path that it is given. */
type Content = string | ((file: string) => Promise<void>);

/** `plan.manifest.json` beside `plan.json`. */
function manifestBeside(file: string): string {
  return file.replace(/(\.[^./\\]+)?$/, ".manifest.json");
}

/**
 * Whether a command may write these files, before it does any work. A file that stands there is replaced only if we wrote it and nobody has
 * changed it since: the manifest beside the first of them lists it by its content.
 *
 * @param files - the first gives its name to the manifest
 * @throws OUTPUT_EXISTS, OUTPUT_OVERLAPS_INPUT, and `fileError`'s codes where nothing can be written there
 */
export async function checkOutputFiles(
  files: readonly string[],
  { command, inputs = [] }: { readonly command: string; readonly inputs?: readonly string[] },
): Promise<void> {
  const manifest = manifestBeside(files[0]);
  for (const file of [...files, manifest]) await checkPlace(file, inputs);
  await standingFacts(files, command);
}

/**
 * Writes files that `checkOutputFiles` allowed, durably, with their manifest beside the first. Each is made whole under a temporary name; then
 * the manifest tells of it, and then it gets its name: whenever the process is killed, the manifest knows what stands there.
 */
export async function writeOutputFiles(
  contents: ReadonlyMap<string, Content>,
  facts: RunFacts,
  run: Pick<Run, "seed" | "place">,
): Promise<void> {
  const files = [...contents.keys()];
  const staged: { file: string; target: string; temporary: string; fact: FileFact }[] = [];
  const manifest = manifestOf(facts, run);
  try {
    for (const [file, content] of contents) {
      const target = await realPath(file);
      await makeFolder(dirname(target));
      const temporary = temporaryBeside(target);
      const stage = { file, target, temporary, fact: { name: basename(file), sha256: "" } };
      staged.push(stage);
      const written = typeof content === "string" ? writeWholeFile(temporary, content) : content(temporary);
      await written.catch((error) => {
        throw errorOfPath(error, temporary, file);
      });
      stage.fact.sha256 = await fileFingerprint(temporary);
    }
    const made = staged.map(({ fact }) => fact);
    const standing = await standingFacts(files, facts.command);
    const replaced = standing.filter(
      ({ name, sha256 }) => !made.some((fact) => fact.name === name && fact.sha256 === sha256),
    );
    await writeJson(manifestBeside(files[0]), { ...manifest, files: [...made, ...replaced] });
    for (const { target, temporary } of staged) await rename(temporary, target);
    for (const folder of new Set(staged.map(({ target }) => dirname(target)))) await syncFolder(folder);
    if (replaced.length > 0) await writeJson(manifestBeside(files[0]), { ...manifest, files: made });
  } catch (error) {
    for (const { temporary } of staged) await rm(temporary, { force: true }).catch(() => {});
    throw fileError(error, files[0]);
  }
}

async function checkPlace(file: string, inputs: readonly string[]): Promise<void> {
  try {
    const target = await realPath(file);
    await refuseInputs(target, file, inputs);
    await checkWritable(dirname(target));
    await sweepLeftovers(dirname(target));
    const there = await stat(target).catch(() => undefined);
    if (there?.isDirectory()) throw Object.assign(new Error(file), { code: "EISDIR" });
    if (there && !there.isFile()) throw foreign(file);
  } catch (error) {
    throw fileError(error, file);
  }
}

/** Version 0.1.0 listed no files. */
const manifestSchema = z.object({
  layerfold: z.string(),
  command: z.string(),
  files: z.array(z.object({ name: z.string(), sha256: z.string() })).optional(),
});

/** Those of the files that stand already, each as we wrote it. @throws OUTPUT_EXISTS where one is not */
async function standingFacts(files: readonly string[], command: string): Promise<FileFact[]> {
  const manifestFile = manifestBeside(files[0]);
  const text = await readFile(manifestFile, "utf8").catch(() => undefined);
  const manifest = text === undefined ? undefined : parsedManifest(text);
  const names = files.map((file) => basename(file));
  const ofOthers =
    manifest?.files?.some(({ name }) => !names.includes(name)) || manifest?.command !== command;
  if (text !== undefined && (!manifest || ofOthers)) throw foreign(manifestFile);
  const standing: FileFact[] = [];
  for (const file of files) {
    if (!(await stat(file).catch(() => undefined))) continue;
    const fact = { name: basename(file), sha256: await fileFingerprint(file) };
    const known = manifest?.files
      ? manifest.files.some(({ name, sha256 }) => name === fact.name && sha256 === fact.sha256)
      : manifest !== undefined;
    if (!known) throw foreign(file);
    standing.push(fact);
  }
  return standing;
}

function parsedManifest(text: string) {
  try {
    return manifestSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function foreign(file: string): LayerfoldError {
  return new LayerfoldError(
    "OUTPUT_EXISTS",
    "a file stands there that this command did not write, or that was changed since",
    { wanted: "another name, or the file moved away", where: file },
  );
}
