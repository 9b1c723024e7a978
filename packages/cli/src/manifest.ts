import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { basename, dirname, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileError } from "@layerfold/checkpoint";
import type { TextSource } from "./text-source.js";

/** What it takes to repeat a run bit for bit. */
export interface Manifest {
  readonly layerfold: string;
  readonly command: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly seed: number;
  readonly model: { readonly name: string; readonly sha256: string };
  /** Every text that was read, by what it was for. */
  readonly data: Readonly<Record<string, DataFact | readonly DataFact[]>>;
  readonly plugins: readonly PluginFact[];
  readonly platform: {
    readonly node: string;
    readonly onnxruntime: string;
    readonly os: string;
    readonly cpu: string;
    readonly cores: number;
  };
}

/** A text that was read. */
export interface DataFact {
  /** Of the file; `self` is text that the model made up. */
  readonly name: string;
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

/** SHA-256 of a file, hex. @throws FILE_MISSING, FILE_DENIED */
export async function fileFingerprint(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash).catch((error) => {
    throw fileError(error, file);
  });
  return hash.digest("hex");
}

/** Name and fingerprint of a data file. */
export async function dataFact(file: string): Promise<DataFact> {
  return { name: basename(file), sha256: await fileFingerprint(file) };
}

/** The same of a text, which may be a part of a file. */
export async function textFact({ file, range }: TextSource): Promise<DataFact> {
  if (file === undefined) return { name: "self" };
  return { ...(await dataFact(file)), ...(range && { range: `[${range.from}:${range.to ?? ""}]` }) };
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
