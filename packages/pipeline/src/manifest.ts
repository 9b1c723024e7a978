import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { type Checkpoint, rangeName } from "@layerfold/checkpoint";
import { addMadeFile, fileError, fileSha256, filesIn, requireRegularFile } from "@layerfold/disk";
import { deviceName } from "@layerfold/onnx";
import type { TextSource } from "./inputs/text-source.js";
import { isModulePath, taskOf } from "./module-path.js";
import { jsonText } from "./outputs.js";
import type { Recipe } from "./recipe/recipe-schema.js";
import type { Run } from "./run.js";
import { version } from "./version.js";

/** What it takes to repeat a run bit for bit. */
export interface Manifest {
  readonly layerfold: string;
  readonly command: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
  /** Of what runs recipes, in the stead of arguments: `layerfold run manifest.json` runs it again. Paths are relative to the manifest. */
  readonly recipe?: Recipe;
  readonly seed: number;
  /** Where models ran, and by whose kernels; absent: on the CPU. */
  readonly device?: string;
  /** Absent where a run saw only what another had captured of it. */
  readonly model?: FileFact;
  /** Every text or other file that was read, by what it was for. */
  readonly data: Readonly<Record<string, DataFact | readonly DataFact[]>>;
  readonly plugins: readonly PluginFact[];
  /** Of a manifest that stands beside files: those that were written. */
  readonly files?: readonly FileFact[];
  readonly platform: {
    readonly node: string;
    readonly onnxruntime: string;
    readonly os: string;
    readonly cpu: string;
    readonly cores: number;
  };
}

/** A file, or a checkpoint as a whole, by its content. */
export interface FileFact {
  readonly name: string;
  readonly sha256: string;
}

/** A text, or another file, that was read. */
export interface DataFact {
  /** Of the file; `self` is text that the model made up. */
  readonly name: string;
  /** Benchmark whose rows they are. */
  readonly task?: string;
  /** SHA-256 of the module that the task came from, where it is one's own. */
  readonly module?: string;
  readonly sha256?: string;
  /** `[from:to]` where only a part was read: rows, or tokens of a stream. */
  readonly range?: string;
}

/** A plug-in that took part. */
export interface PluginFact {
  readonly kind: string;
  readonly id: string;
  readonly options: unknown;
  /** The user's module that it came from; what that imports in turn is not looked at. */
  readonly module?: DataFact;
}

/** SHA-256 of a file, or of the names and contents of a folder's files; hex. @throws FILE_MISSING, FILE_DENIED */
export async function fileFingerprint(file: string): Promise<string> {
  try {
    if (!(await requireRegularFile(file)).isDirectory()) return await fileSha256(file);
    const hash = createHash("sha256");
    for (const name of (await filesIn(file)).sort()) {
      hash.update(`${name}\n${await fileFingerprint(join(file, name))}\n`);
    }
    return hash.digest("hex");
  } catch (error) {
    throw fileError(error, file);
  }
}

/** Name and fingerprint of a data file. */
export async function dataFact(file: string): Promise<FileFact> {
  return { name: basename(file), sha256: await fileFingerprint(file) };
}

/** The same of a text, which may be a part of a file. */
export async function textFact({ file, task, range }: TextSource): Promise<DataFact> {
  if (file === undefined) return { name: "self" };
  const id = task === undefined ? undefined : taskOf(task).id;
  const module = id !== undefined && isModulePath(id) ? id : undefined;
  return {
    ...(await dataFact(file)),
    ...(task !== undefined && { task }),
    ...(module !== undefined && { module: await fileFingerprint(module) }),
    ...(range && { range: rangeName(range) }),
  };
}

/** As a person would name it: `wiki.txt[0:16384]`, `piqa:rows.jsonl`, or `self`. */
export function factName({ name, task, range = "" }: DataFact): string {
  return `${task === undefined ? "" : `${task}:`}${name}${range}`;
}

/** Name and fingerprint of a MODEL argument. */
export async function modelFact(
  path: string,
  checkpoint: Pick<Checkpoint, "fingerprint">,
): Promise<FileFact> {
  return { name: modelName(path), sha256: await checkpoint.fingerprint() };
}

/** What a command knows of its own run. */
export interface RunFacts {
  readonly command: string;
  /** As they were given; those that change no result are left out. */
  readonly arguments?: object | undefined;
  readonly recipe?: Recipe | undefined;
  readonly model?: FileFact | undefined;
  readonly data?: Manifest["data"] | undefined;
  readonly plugins?: readonly PluginFact[] | undefined;
}

export function manifestOf(
  { command, arguments: given, recipe, model, data = {}, plugins = [] }: RunFacts,
  { seed, place }: Pick<Run, "seed" | "place">,
): Manifest {
  const silent = [
    ...["json", "quiet", "seed", "out", "force", "dryRun", "writeActivationScales"],
    ...["work", "keepWork", "device", "allowFallback"],
  ];
  const telling = Object.entries(given ?? {}).filter(([name]) => !silent.includes(name));
  const device = deviceName(place);
  return {
    layerfold: version,
    command,
    ...(given && { arguments: Object.fromEntries(telling) }),
    ...(recipe && { recipe }),
    seed,
    ...(device !== undefined && { device }),
    ...(model && { model }),
    data,
    plugins,
    platform: platformFact(),
  };
}

/** Writes a run's manifest into the folder that it made. */
export async function writeManifest(
  folder: string,
  facts: RunFacts,
  run: Pick<Run, "seed" | "place">,
): Promise<void> {
  await addMadeFile(folder, "manifest.json", jsonText(manifestOf(facts, run)));
}

/** The machine and the versions that the arithmetic ran on. */
export function platformFact(): Manifest["platform"] {
  const onnx = createRequire(createRequire(import.meta.url).resolve("@layerfold/onnx"));
  return {
    node: process.version,
    onnxruntime: onnx("onnxruntime-node/package.json").version,
    os: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
  };
}

/** What people call a model: its folder, or the folder above one that is merely called `checkpoint`. */
export function modelName(path: string): string {
  const name = basename(resolve(path));
  return name === "checkpoint" ? basename(dirname(resolve(path))) : name;
}
