import { copyFile, readdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { elementCount, LayerfoldError, type RunContext, throwIfAborted } from "@layerfold/core";
import { fileError, madeFilesName, requireRegularFile, writeFolder } from "@layerfold/disk";
import { isCarried } from "./carried-files.js";
import { checkLayerCount, checkTensors } from "./check-tensors.js";
import type { Checkpoint } from "./checkpoint.js";
import { architectureOf, familyOf } from "./families.js";
import type { ModelConfig } from "./family.js";
import { byteLengthOf, type TensorSource, writeSafetensors } from "./safetensors.js";
import { serializeConfig } from "./serialize-config.js";
import { readTextFile } from "./text-file.js";

export interface CheckpointContent {
  readonly config: ModelConfig;
  /** Exactly the tensors that the config's architecture uses, in any order; each is asked for its bytes once. */
  readonly tensors: readonly TensorSource[];
  /** Tokenizer, chat template, generation config and licence are copied from here. */
  readonly carryFrom?: Checkpoint | undefined;
  /** Largest shard in bytes; default 5 GB. A tensor is never split. */
  readonly maxShardBytes?: number | undefined;
  /** Replace a folder that is not empty, if it is one that we wrote. */
  readonly force?: boolean | undefined;
  /** More files by name, e.g. README.md; they win over carried ones. */
  readonly extraFiles?: Readonly<Record<string, string | Uint8Array>> | undefined;
}

export interface WrittenCheckpoint {
  readonly directory: string;
  readonly files: readonly string[];
  /** Sum of the tensors' bytes. */
  readonly tensorBytes: number;
  readonly parameterCount: number;
}

/**
 * Writes a Hugging Face checkpoint folder, its tensors as `writeSafetensors` does, as `writeFolder` does: a folder of the target's name is always
 * complete, and what it replaces is ours.
 *
 * @throws TENSOR_MISSING, TENSOR_SHAPE or TENSOR_UNEXPECTED where tensors and config disagree; TENSOR_BYTES, INTERRUPTED; what
 * `writeFolder` throws
 */
export async function writeCheckpoint(
  directory: string,
  content: CheckpointContent,
  ctx: Pick<RunContext, "signal" | "report"> = {},
): Promise<WrittenCheckpoint> {
  const { config, tensors, carryFrom, force, extraFiles = {} } = content;
  checkComplete(config, tensors, directory);
  await writeFolder(directory, { force }, async (folder) => {
    if (carryFrom) await carryFiles(carryFrom.directory, folder);
    const original = carryFrom && (await readTextFile(join(carryFrom.directory, "config.json")));
    await writeFile(join(folder, "config.json"), serializeConfig(config, original));
    for (const [name, data] of Object.entries(extraFiles)) await writeFile(join(folder, name), data);
    await writeShards(folder, tensors, content.maxShardBytes ?? 5e9, ctx);
    throwIfAborted(ctx.signal);
  });
  const target = resolve(directory);
  return {
    directory: target,
    files: (await readdir(target)).filter((name) => name !== madeFilesName).sort(),
    tensorBytes: tensors.reduce((sum, source) => sum + byteLengthOf(source), 0),
    parameterCount: tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0),
  };
}

/** transformers merely warns of a tensor that is missing, and makes one up: so the writer sees to it. */
function checkComplete(config: ModelConfig, tensors: readonly TensorSource[], where: string) {
  const family = familyOf(config);
  const byName = new Map(tensors.map((source) => [source.name, source]));
  checkLayerCount(family, config, byName.keys(), where);
  const architecture = architectureOf(config, byName.keys());
  checkTensors(family, config, architecture, byName, where, (event) => {
    if (event.type === "diagnostic") throw new LayerfoldError("TENSOR_UNEXPECTED", event.message, { where });
  });
}

/** Copies what a model made from another takes over unchanged: tokenizer, chat template, generation config, licence. */
export async function carryFiles(from: string, to: string) {
  for (const name of await readdir(from)) {
    // copyFile follows symbolic links, so a hub cache's files arrive as files.
    if (!isCarried(name)) continue;
    await requireRegularFile(join(from, name));
    await copyFile(join(from, name), join(to, name)).catch((error) => {
      throw fileError(error, join(error.code === "ENOENT" ? from : to, name));
    });
  }
}

async function writeShards(
  directory: string,
  tensors: readonly TensorSource[],
  maxShardBytes: number,
  ctx: Pick<RunContext, "signal" | "report">,
) {
  const total = tensors.reduce((sum, source) => sum + byteLengthOf(source), 0);
  let done = 0;
  const count = (bytes: number) => {
    done += bytes;
    ctx.report?.({ type: "progress", stage: "write", done, total, unit: "bytes" });
  };
  const counted = tensors.map((source): TensorSource => {
    if ("fill" in source) {
      return {
        ...source,
        async fill(target, start) {
          await source.fill(target, start);
          count(target.length);
        },
      };
    }
    return {
      ...source,
      async bytes() {
        const bytes = await source.bytes();
        count(bytes.byteLength);
        return bytes;
      },
    };
  });
  const shards = shardsOf(counted, maxShardBytes);
  if (shards.length === 1) {
    await writeSafetensors(join(directory, "model.safetensors"), shards[0], { format: "pt" }, ctx.signal);
    return;
  }
  const weightMap: Record<string, string> = {};
  const number = (n: number) => String(n).padStart(5, "0");
  for (const [index, shard] of shards.entries()) {
    const name = `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
    await writeSafetensors(join(directory, name), shard, { format: "pt" }, ctx.signal);
    for (const source of shard) weightMap[source.name] = name;
  }
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  await writeFile(join(directory, "model.safetensors.index.json"), `${JSON.stringify(index, null, 2)}\n`);
}

/** Tensors in the given order, so that a layer stays together. */
function shardsOf(tensors: readonly TensorSource[], maxShardBytes: number): TensorSource[][] {
  const shards: TensorSource[][] = [[]];
  let bytes = 0;
  for (const source of tensors) {
    const size = byteLengthOf(source);
    if (bytes > 0 && bytes + size > maxShardBytes) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(source);
    bytes += size;
  }
  return shards;
}
