import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { LayerfoldError, z } from "@layerfold/core";
import { fileError, isFileError } from "./file-error.js";
import { filesIn } from "./files-in.js";
import { type FileContent, writeWholeFile } from "./write-file.js";

/** Name of the file, in every folder that we make, that lists the files which we wrote: these alone may be replaced. */
export const madeFilesName = ".layerfold.json";

const recordSchema = z.object({ version: z.literal(1), files: z.array(z.string()) });

/** Lists all files that stand in a folder of our making, however deep, as ours. */
export async function recordMadeFiles(folder: string): Promise<void> {
  const files = await filesIn(folder);
  await writeRecord(
    folder,
    files.filter((path) => path !== madeFilesName),
  );
}

/**
 * Writes a file into a folder that we made, or into one of which nothing may be replaced, and lists it as ours.
 * @throws OUTPUT_EXISTS where a file of that name stands there that we did not write; `fileError`'s codes
 */
export async function addMadeFile(folder: string, name: string, content: FileContent): Promise<void> {
  await refuseForeignFiles(folder, [name]);
  const before = (await readRecord(folder)) ?? (await namesIn(folder)).filter(await madeIn(folder));
  // First the list: a name on it that is not there harms nobody, a file of ours that is not on it could never be replaced.
  if (!before.includes(name)) await writeRecord(folder, [...before, name]);
  await writeWholeFile(join(folder, name), content);
}

/** @throws OUTPUT_EXISTS where files of these names stand in a folder that we did not write */
export async function refuseForeignFiles(folder: string, names: readonly string[]): Promise<void> {
  const standing = await namesIn(folder);
  const isOurs = await madeIn(folder);
  const foreign = names.find((name) => standing.includes(name) && !isOurs(name));
  if (foreign === undefined) return;
  throw new LayerfoldError("OUTPUT_EXISTS", "a file stands there that layerfold did not write", {
    where: join(folder, foreign),
  });
}

/**
 * What stands in a folder and was not written by us, by path from there with `/`; a folder in which nothing is ours stands for all that is in
 * it.
 */
export async function foreignFiles(folder: string): Promise<string[]> {
  const isOurs = await madeIn(folder);
  const foreignUnder = async (prefix: string): Promise<string[]> => {
    const found: string[] = [];
    for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
      const path = `${prefix}${entry.name}`;
      if (!isOurs(entry.isDirectory() ? `${path}/` : path)) found.push(path);
      else if (entry.isDirectory()) found.push(...(await foreignUnder(`${path}/`)));
    }
    return found;
  };
  return foreignUnder("");
}

/** Whether a path in the folder is of a file that we wrote, or, with `/` at its end, of a folder with such files. */
async function madeIn(folder: string): Promise<(path: string) => boolean> {
  const record = await readRecord(folder);
  if (record) {
    const ours = new Set([madeFilesName, ...record]);
    for (const path of record) {
      for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1))
        ours.add(path.slice(0, at + 1));
    }
    return (path) => ours.has(path);
  }
  const command = await readJson(join(folder, "manifest.json"))
    .then((manifest) => earlierManifest.safeParse(manifest).data?.command)
    .catch(() => undefined);
  const known = command === undefined ? undefined : earlierFiles[command];
  return (path) => known?.(path) ?? false;
}

/** Version 0.1.0 wrote no list, but a manifest that names the command. */
const earlierManifest = z.object({ layerfold: z.string(), command: z.string() });

const carriedFile =
  /^(tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|tokenizer\.model|vocab\.json|merges\.txt|added_tokens\.json|chat_template\.(jinja|json)|generation_config\.json|preprocessor_config\.json|video_preprocessor_config\.json|(LICEN[CS]E|NOTICE|USE_POLICY)([.-].*)?)$/i;
const checkpointFile = (name: string) =>
  carriedFile.test(name) ||
  /^(config\.json|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|manifest\.json)$/.test(
    name,
  );
const quantizedFile = (name: string) =>
  checkpointFile(name) || /^(quantize_config\.json|quantization-log\.csv)$/.test(name);
const compressedFile = (path: string) => {
  const parts = path.split("/");
  const name = parts.pop()!;
  // A fold stands in a folder for its number of layers, a quantised one in a folder of its scheme's name in there.
  const folders = parts.join("/");
  if (!/^(layers-\d+)?(^|\/|$)((rtn|gptq|awq|smoothquant|fp8)[a-z0-9-]*)?$/.test(folders)) return false;
  return (
    name === "" ||
    quantizedFile(name) ||
    (folders === "" && /^(plan(-\d+)?\.json|similarity\.json|results\.json|report\.html)$/.test(name))
  );
};

/** What version 0.1.0 wrote into a folder, by command. */
const earlierFiles: Readonly<Record<string, (path: string) => boolean>> = {
  merge: checkpointFile,
  dequantize: checkpointFile,
  import: checkpointFile,
  quantize: quantizedFile,
  compress: compressedFile,
  export: (path) => checkpointFile(path) || /^onnx\/(model\.onnx|model\.onnx_data)?$/.test(path),
  capture: (path) => /^(activations\.json|activations\.safetensors|manifest\.json)$/.test(path),
  ablate: (path) => /^(ablation\.(json|csv|md)|manifest\.json|report\.html)$/.test(path),
};

async function writeRecord(folder: string, files: readonly string[]): Promise<void> {
  const record: z.infer<typeof recordSchema> = { version: 1, files: [...new Set(files)].sort() };
  await writeWholeFile(join(folder, madeFilesName), `${JSON.stringify(record, null, 2)}\n`);
}

async function readRecord(folder: string): Promise<readonly string[] | undefined> {
  return recordSchema.safeParse(await readJson(join(folder, madeFilesName))).data?.files;
}

/** undefined where there is no such file, or it is no JSON. */
async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    if (isFileError(error) && ["ENOENT", "ENOTDIR", "EISDIR"].includes(error.code!)) return undefined;
    throw error;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error) => {
    if (error.code === "ENOENT") return [];
    throw fileError(error, folder);
  });
}
