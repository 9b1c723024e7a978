import { createHash } from "node:crypto";
import { open, readdir, stat } from "node:fs/promises";
import { isAbsolute, join, normalize, resolve, sep } from "node:path";
import { type BlockView, type DType, LayerfoldError, type RunContext, type Tensor } from "@layerfold/core";
import { fileError } from "@layerfold/disk";
import { checkQuantization } from "./check-quantization.js";
import { checkLayerCount, checkTensors } from "./check-tensors.js";
import type { Checkpoint, StoredTensor } from "./checkpoint.js";
import { architectureOf, familyOf } from "./families.js";
import type { ModelConfig } from "./family.js";
import { refuseForeignFolder } from "./foreign-folder.js";
import { ifThere, readJsonObject } from "./json-file.js";
import { quantizedForms } from "./quantization-method.js";
import { withQuantization } from "./read-quantization.js";
import { openSafetensors, type SafetensorsFile } from "./safetensors.js";
import { reportTextPart, textPartFile, textPartOf } from "./text-part.js";

const hashChunk = 2 ** 24;

export interface OpenOptions {
  /** Hears of tensors that the architecture does not use, and of other oddities that are no error. */
  readonly report?: RunContext["report"];
}

/**
 * Opens a Hugging Face checkpoint folder: config.json and the headers of its safetensors file or shards. Shards may be symbolic links
 * to anywhere (the hub's cache), but the index may only name files of the folder. Config and weights are held against each other.
 * Of a `gemma3` checkpoint it is the language model alone, a `gemma3_text`.
 *
 * @throws CHECKPOINT_MISSING, CHECKPOINT_ADAPTER, LFS_POINTER, ARCHITECTURE_COMPOSITE, CONFIG_INVALID, ARCHITECTURE_UNKNOWN,
 * WEIGHTS_MISSING, WEIGHTS_PICKLED, INDEX_INVALID, SHARD_MISSING, TENSOR_MISSING, LAYER_MISSING, TENSOR_SHAPE, QUANTIZATION_UNSUPPORTED,
 * QUANTIZED_TENSOR_INVALID, and whatever `openSafetensors` throws
 */
export async function openCheckpoint(directory: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const root = resolve(directory);
  const whole = await readModelConfig(root, directory);
  const part = textPartOf(whole);
  const stored = part?.config ?? whole;
  if (part) reportTextPart(whole, options.report);
  const family = familyOf(stored);
  const shards = await openShards(root, directory);
  const files = part ? shards.map((file) => textPartFile(file, part)) : shards;
  try {
    const owners = new Map<string, SafetensorsFile>();
    const tensors = new Map<string, StoredTensor>();
    for (const file of files) {
      for (const [name, tensor] of file.tensors) {
        owners.set(name, file);
        tensors.set(name, tensor);
      }
    }
    const bytesOf = async (name: string) => {
      const owner = owners.get(name);
      if (!owner) throw new LayerfoldError("TENSOR_MISSING", `no tensor ${name}`, { where: root });
      return owner;
    };
    checkLayerCount(family, stored, tensors.keys(), root);
    const readIfThere = (file: string) => ifThere(readJsonObject(file, "CONFIG_INVALID"));
    const named = await withQuantization(stored, root, tensors.keys(), readIfThere, options.report);
    quantizedForms(named);
    const config = await untieOwnHead(named, tensors, bytesOf);
    const architecture = architectureOf(config, tensors.keys());
    checkTensors(family, config, architecture, tensors, root, options.report);
    checkQuantization(config);
    const read = async (name: string) => (await bytesOf(name)).read(name);
    let fingerprint: Promise<string> | undefined;
    return {
      directory: root,
      config,
      family,
      architecture,
      dtype: weightDtype(architecture.blocks, tensors),
      tensors,
      read,
      readBytes: async (name) => (await bytesOf(name)).readBytes(name),
      async block(layer): Promise<BlockView> {
        const block = architecture.blocks[layer];
        if (!block) {
          throw new LayerfoldError("LAYER_OUT_OF_RANGE", `no layer ${layer}`, {
            wanted: `0 to ${architecture.blocks.length - 1}`,
            where: root,
          });
        }
        const values = new Map<string, Tensor>();
        for (const [role, name] of block.tensors) values.set(role, await read(name));
        return { layer, type: block.type, spec: block, tensors: values };
      },
      fingerprint: () => (fingerprint ??= hash(config, tensors, bytesOf)),
      async close() {
        await Promise.all(files.map((file) => file.close()));
      },
    };
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
}

/**
 * Reads config.json.
 * @throws CHECKPOINT_MISSING where there is no such folder or no config.json in it, CONFIG_INVALID
 */
async function readModelConfig(directory: string, given: string): Promise<ModelConfig> {
  const file = join(directory, "config.json");
  const config = await readJsonObject(file, "CONFIG_INVALID").catch(async (error) => {
    const found = await stat(directory).catch(() => undefined);
    const missing = error instanceof LayerfoldError && error.code === "FILE_MISSING";
    if (!missing && found?.isDirectory() !== false) throw error;
    const names = found?.isDirectory() ? await readdir(directory) : [];
    await refuseForeignFolder(given, found && names);
    const isGguf = found?.isFile() ? await beginsAsGguf(directory) : directory.endsWith(".gguf");
    throw new LayerfoldError(
      "CHECKPOINT_MISSING",
      isGguf || names.some((name) => name.endsWith(".gguf"))
        ? "a GGUF file is not a checkpoint folder; `layerfold import` makes one of it"
        : "not a checkpoint",
      {
        wanted: "a folder with config.json and *.safetensors",
        got: found ? (found.isDirectory() ? undefined : "not a folder") : "nothing there",
        where: directory,
      },
    );
  });
  return config as ModelConfig;
}

async function beginsAsGguf(file: string): Promise<boolean> {
  const handle = await open(file, "r").catch((error) => {
    throw fileError(error, file);
  });
  try {
    const { buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString("latin1") === "GGUF";
  } finally {
    await handle.close();
  }
}

async function openShards(root: string, given: string): Promise<SafetensorsFile[]> {
  const names = await readdir(root).catch((error) => {
    throw fileError(error, root);
  });
  if (names.includes("model.safetensors")) return [await openSafetensors(join(root, "model.safetensors"))];
  if (names.includes("model.safetensors.index.json")) return openIndexed(root);
  await refuseForeignFolder(given, names);
  const pickled = names.filter(
    (name) => /\.(bin|pth?|ckpt)$/.test(name) && !name.startsWith("training_args"),
  );
  if (pickled.length > 0) {
    throw new LayerfoldError(
      "WEIGHTS_PICKLED",
      "the weights are pickled, and unpickling runs whatever code the file holds. Convert them once with Python: " +
        `from transformers import AutoModelForCausalLM; AutoModelForCausalLM.from_pretrained("${root}").save_pretrained("OUT", safe_serialization=True), ` +
        "and copy the tokenizer's files",
      { wanted: "*.safetensors", got: pickled[0], where: root },
    );
  }
  // AutoGPTQ once named the file after bits and group size.
  const named = names.find((name) => name.endsWith(".safetensors"));
  throw new LayerfoldError(
    "WEIGHTS_MISSING",
    named ? "the folder's weights have another name" : "the folder has no weights",
    { wanted: "model.safetensors or model.safetensors.index.json", got: named, where: root },
  );
}

async function openIndexed(root: string): Promise<SafetensorsFile[]> {
  const indexFile = join(root, "model.safetensors.index.json");
  const map = (await readJsonObject(indexFile, "INDEX_INVALID")).weight_map;
  if (typeof map !== "object" || map === null || !Object.values(map).every((v) => typeof v === "string")) {
    throw new LayerfoldError("INDEX_INVALID", "weight_map must map tensor names to files", {
      where: indexFile,
    });
  }
  const weightMap = map as Record<string, string>;
  const files: SafetensorsFile[] = [];
  try {
    for (const name of new Set(Object.values(weightMap))) {
      const path = normalize(name);
      if (isAbsolute(path) || path === ".." || path.startsWith(`..${sep}`) || name.includes("\\")) {
        throw new LayerfoldError("INDEX_INVALID", "the index names a file outside the folder", {
          got: name,
          where: indexFile,
        });
      }
      const file = await openSafetensors(join(root, path)).catch((error) => {
        if (error.code !== "FILE_MISSING") throw error;
        throw new LayerfoldError("SHARD_MISSING", `the index names ${name}, which is not there`, {
          where: indexFile,
        });
      });
      files.push(file);
      for (const [tensor, owner] of Object.entries(weightMap)) {
        if (owner === name && !file.tensors.has(tensor)) {
          throw new LayerfoldError(
            "TENSOR_MISSING",
            `the index places ${tensor} in ${name}, which lacks it`,
            {
              where: indexFile,
            },
          );
        }
      }
    }
    return files;
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
}

/**
 * A config may say that the head is the embedding while the file holds a head of its own. transformers then uses the file's, so the
 * config that we go by says untied; a mere copy of the embedding stays tied.
 */
async function untieOwnHead(
  config: ModelConfig,
  tensors: ReadonlyMap<string, StoredTensor>,
  owner: (name: string) => Promise<SafetensorsFile>,
): Promise<ModelConfig> {
  const { head } = architectureOf(config, tensors.keys());
  if (!head.tied) return config;
  const untied = { ...config, tie_word_embeddings: false };
  const own = tensors.get(architectureOf(untied, tensors.keys()).head.weight);
  const embedding = tensors.get(head.weight);
  if (!own || !embedding || own === embedding) return config;
  if (own.byteLength !== embedding.byteLength) return untied;
  const [a, b] = await Promise.all([owner(own.name), owner(embedding.name)]);
  for (let start = 0; start < own.byteLength; start += hashChunk) {
    const length = Math.min(hashChunk, own.byteLength - start);
    const [left, right] = [
      await a.readBytes(own.name, start, length),
      await b.readBytes(embedding.name, start, length),
    ];
    if (Buffer.compare(left, right) !== 0) return untied;
  }
  return config;
}

/** The floating-point type that most of the blocks' bytes have; float8 is a code, which a scale gives its meaning. */
function weightDtype(
  blocks: Checkpoint["architecture"]["blocks"],
  tensors: ReadonlyMap<string, StoredTensor>,
): DType {
  const bytes = new Map<DType, number>();
  for (const block of blocks) {
    for (const name of block.tensors.values()) {
      const tensor = tensors.get(name);
      if (tensor && /^b?float(16|32|64)$/.test(tensor.dtype)) {
        bytes.set(tensor.dtype, (bytes.get(tensor.dtype) ?? 0) + tensor.byteLength);
      }
    }
  }
  return [...bytes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "float32";
}

async function hash(
  config: ModelConfig,
  tensors: ReadonlyMap<string, StoredTensor>,
  owner: (name: string) => Promise<SafetensorsFile>,
): Promise<string> {
  const digest = createHash("sha256").update(JSON.stringify(config));
  for (const name of [...tensors.keys()].sort()) {
    const { dtype, shape, byteLength } = tensors.get(name)!;
    digest.update(JSON.stringify([name, dtype, shape]));
    const file = await owner(name);
    for (let start = 0; start < byteLength; start += hashChunk) {
      digest.update(await file.readBytes(name, start, Math.min(hashChunk, byteLength - start)));
    }
  }
  return digest.digest("hex");
}
