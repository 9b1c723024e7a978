import { copyFile, readdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { elementCount, LayerfoldError, type RunContext, throwIfAborted } from "@layerfold/core";
import { fileError, madeFilesName, requireRegularFile, writeFolder } from "@layerfold/disk";
import { isCarried } from "./carried-files.js";
import { checkLayerCount, checkTensors } from "./check-tensors.js";
import type { Checkpoint } from "./checkpoint.js";
import { architectureOf, familyOf } from "./families.js";
import type { ModelConfig } from "./family.js";
import { byteLengthOf, copyOf, type TensorSource, writeSafetensors } from "./safetensors.js";
import { serializeConfig } from "./serialize-config.js";
import { readTextFile } from "./text-file.js";

export interface CheckpointContent {
  readonly config: ModelConfig;
  /** Exactly the tensors that the config's architecture uses, in any order; each is asked for its bytes once. */
  readonly tensors: readonly TensorSource[];
  /** Tokenizer, chat template, generation config and licence are copied from here. */
  readonly carryFrom?: Checkpoint | undefined;
  /** Largest shard in bytes; default 5 GB. A tensor is never split. Files of `carryFrom` that are copied whole stay files. */
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
    await writeShards(folder, tensors, carryFrom, content.maxShardBytes ?? 5e9, ctx);
    throwIfAborted(ctx.signal);
  });
  const target = resolve(directory);
  return {
    directory: target,
    files: (await readdir(target)).filter((name) => name !== madeFilesName).sort(),
    tensorBytes: bytesOf(tensors),
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
  carryFrom: Checkpoint | undefined,
  maxShardBytes: number,
  ctx: Pick<RunContext, "signal" | "report">,
) {
  const total = bytesOf(tensors);
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
  const shards = shardsOf(counted, carryFrom, maxShardBytes);
  let behind = 0;
  const write = async (name: string, shard: readonly TensorSource[]) => {
    await writeSafetensors(join(directory, name), shard, { format: "pt" }, ctx.signal);
    behind += bytesOf(shard);
    // Of a file that is shared with another no tensor was asked for.
    if (done < behind) count(behind - done);
  };
  if (shards.length === 1) return write("model.safetensors", shards[0]);
  const weightMap: Record<string, string> = {};
  const number = (n: number) => String(n).padStart(5, "0");
  for (const [index, shard] of shards.entries()) {
    const name = `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
    await write(name, shard);
    for (const source of shard) weightMap[source.name] = name;
  }
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  await writeFile(join(directory, "model.safetensors.index.json"), `${JSON.stringify(index, null, 2)}\n`);
}

/** Tensors in the given order, so that a layer stays together; but those that are a whole file of another checkpoint stay that file. */
function shardsOf(
  tensors: readonly TensorSource[],
  carryFrom: Checkpoint | undefined,
  maxShardBytes: number,
): (readonly TensorSource[])[] {
  const kept = wholeFiles(tensors, carryFrom, maxShardBytes);
  const shards: (readonly TensorSource[])[] = [];
  let shard: TensorSource[] | undefined;
  let bytes = 0;
  for (const source of tensors) {
    const whole = kept.get(copyOf(source)?.file ?? "");
    if (whole) {
      if (whole[0] === source) shards.push(whole);
      continue;
    }
    const size = byteLengthOf(source);
    if (!shard || (bytes > 0 && bytes + size > maxShardBytes)) {
      shards.push((shard = []));
      bytes = 0;
    }
    shard.push(source);
    bytes += size;
  }
  return shards.length > 0 ? shards : [[]];
}

/** By file, the tensors of those files of a checkpoint of which every tensor is copied, under its own name. */
function wholeFiles(
  tensors: readonly TensorSource[],
  carryFrom: Checkpoint | undefined,
  maxShardBytes: number,
): ReadonlyMap<string, readonly TensorSource[]> {
  const copied = new Map<string, TensorSource[]>();
  for (const source of tensors) {
    const stored = copyOf(source);
    if (stored?.name !== source.name) continue;
    copied.set(stored.file, [...(copied.get(stored.file) ?? []), source]);
  }
  const counts = new Map<string, number>();
  for (const { file } of carryFrom?.tensors.values() ?? []) counts.set(file, (counts.get(file) ?? 0) + 1);
  return new Map(
    [...copied].filter(
      ([file, sources]) => sources.length === counts.get(file) && bytesOf(sources) <= maxShardBytes,
    ),
  );
}

function bytesOf(sources: readonly TensorSource[]): number {
  return sources.reduce((sum, source) => sum + byteLengthOf(source), 0);
}
