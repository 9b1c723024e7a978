import { join } from "node:path";
import { hubSettings } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { writeWholeFile } from "@layerfold/disk";
import { parseTextSource } from "./inputs/text-source.js";

/** `writeWholeFile` of JSON, indented. */
export function writeJson(file: string, value: unknown): Promise<void> {
  return writeWholeFile(file, jsonText(value));
}

/** JSON as we write it: indented, with a line's end. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** Where a command writes to; nowhere with `--dry-run`. @throws OUTPUT_MISSING */
export function outputOf({
  out,
  dryRun,
}: {
  readonly out?: string | undefined;
  readonly dryRun?: boolean | undefined;
}): string | undefined {
  if (dryRun) return undefined;
  if (out !== undefined) return out;
  throw new LayerfoldError("OUTPUT_MISSING", "nowhere to write to", { wanted: "--out or --dry-run" });
}

/** What a command reads, as its options name it. */
export interface CommandInputs {
  readonly models?: readonly (string | undefined)[] | undefined;
  /** `FILE`, `FILE[from:to]`, `NAME:FILE`, or several with shares. */
  readonly texts?: readonly (string | undefined)[] | undefined;
  /** Plans, captures and the like. */
  readonly files?: readonly (string | undefined)[] | undefined;
}

/** Paths of all that a command reads, which no output may be, hold or lie in. @throws TEXT_SOURCE */
export function inputPaths({ models = [], texts = [], files = [] }: CommandInputs): string[] {
  const given = (names: readonly (string | undefined)[]) => names.filter((name) => name !== undefined);
  return [
    ...given(models).map(modelPath),
    ...given(given(texts).flatMap((text) => text.split(",").map((part) => parseTextSource(part).file))),
    ...given(files),
  ];
}

/** Where a MODEL argument lies: in the hub's cache, whether or not it was downloaded already, or where it says. */
function modelPath(model: string): string {
  if (!model.startsWith("hf:")) return model;
  const [name] = model.slice("hf:".length).split("@");
  return join(hubSettings(process.env).cacheDirectory, `models--${name.replace("/", "--")}`);
}
