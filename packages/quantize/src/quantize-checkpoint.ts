import { rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import {
  type Checkpoint,
  openSafetensors,
  type SafetensorsFile,
  type TensorSource,
  type WrittenCheckpoint,
  writeCheckpoint,
  writeSafetensors,
} from "@layerfold/checkpoint";
import {
  type BlockSpec,
  checkFinite,
  contiguousData,
  encodeFloats,
  LayerfoldError,
  type ModelRunner,
  type QuantizedTensor,
  type Quantizer,
  type RunContext,
} from "@layerfold/core";
import { checkOutputFolder, makeFolder, scratchFolder } from "@layerfold/disk";
import { packAwq } from "./awq-format.js";
import { linearRoles } from "./canonical-block.js";
import { packCompressedTensors } from "./compressed-tensors-format.js";
import { packGptq } from "./gptq-format.js";
import { readLayer, writeLayer } from "./layer-file.js";
import type { PackedTensor } from "./packed-tensor.js";
import { compressedTensorsLayout, type ModuleFacts, quantizationConfig } from "./quantization-config.js";
import {
  moduleName,
  type QuantizationRecord,
  type QuantizedLayer,
  type QuantizeOptions,
  quantizeLayers,
} from "./quantize-layers.js";
import type { QuantizationScheme } from "./scheme.js";

export interface QuantizeCheckpointOptions extends QuantizeOptions {
  /**
   * Rounds the embedding, and a head of its own, too (compressed-tensors files only); absent: they stay as they are. Readers but this one
   * may not know quantised embeddings.
   */
  readonly embedding?: Quantizer | undefined;
  /**
   * Folder for finished layers, which stay there: what an earlier call with the same arguments left when it was broken off is not
   * quantised anew. Absent: a folder beside the target that is removed at the end.
   */
  readonly unfinished?: string | undefined;
  /** Replace a folder that is not empty, if it is one that we wrote. */
  readonly force?: boolean | undefined;
}

export interface QuantizedCheckpoint {
  readonly written: WrittenCheckpoint;
  /** One record per quantised linear map, front to back. */
  readonly log: readonly QuantizationRecord[];
  /** Of the written tensors' bytes, those of the embedding and of a head of its own. */
  readonly embeddingBytes: number;
  /** Largest |input| per channel by module name, as the scheme's transforms saw it; empty without transforms. */
  readonly activationScales: ReadonlyMap<string, Float64Array>;
}

/**
 * Quantises a checkpoint's blocks and writes them as a checkpoint of the scheme's format, with its `quantization_config`. Embedding and
 * head stay as they are unless `embedding` is given, and norms always. Finished layers wait on disk, beside the target, for the last one: memory holds one layer.
 *
 * @param runner - of the same checkpoint; needed with a calibration text only
 * @throws CHECKPOINT_QUANTIZED where it is quantised already, QUANTIZATION_NOT_EXPRESSIBLE where the format cannot hold the scheme or the
 * architecture, and whatever `quantizeLayers` and `writeCheckpoint` throw
 */
export async function quantizeCheckpoint(
  checkpoint: Checkpoint,
  runner: ModelRunner | undefined,
  directory: string,
  options: QuantizeCheckpointOptions,
  ctx: RunContext,
): Promise<QuantizedCheckpoint> {
  const { scheme, embedding, unfinished, force } = options;
  if (checkpoint.config.quantization_config != null) {
    throw new LayerfoldError(
      "CHECKPOINT_QUANTIZED",
      "the checkpoint is quantised already; make it dense first",
      {
        where: checkpoint.directory,
      },
    );
  }
  if (embedding && scheme.format !== "compressed-tensors") {
    throw new LayerfoldError("QUANTIZATION_NOT_EXPRESSIBLE", "the format knows no quantised embedding", {
      wanted: "compressed-tensors files",
      got: scheme.format,
    });
  }
  const quantizers = [scheme.quantizer, ...(options.overrides ?? []).map(({ quantizer }) => quantizer)];
  if (scheme.format === "gptq" && quantizers.some((quantizer) => quantizer?.options.symmetric === false)) {
    ctx.report?.({
      type: "diagnostic",
      severity: "warning",
      code: "GPTQ_V1_ASYMMETRIC",
      message:
        "GPTQModel refuses asymmetric files of the format gptq (v1) that it did not write; gptq_v2 is read",
    });
  }
  const target = await checkOutputFolder(directory, { force });
  const parts = unfinished ?? (await scratchFolder(`${basename(target)}.layers`, dirname(target)));
  const { blocks } = checkpoint.architecture;
  const codesOf = (layer: number) => join(parts, `${layer}.codes`);
  const finished = unfinished ? (layer: number) => readLayer(codesOf(layer), blocks[layer]) : undefined;
  const files: SafetensorsFile[] = [];
  try {
    await makeFolder(parts);
    const log: QuantizationRecord[] = [];
    const activationScales = new Map<string, Float64Array>();
    const modules = new Map<string, ModuleFacts>();
    const { head } = checkpoint.architecture;
    const embeddings = await embeddingTensors(checkpoint, embedding, ctx);
    // A tied head is no linear map of the file, but readers make one of the embedding.
    const dense = head.tied ? ["lm_head"] : embedding ? [] : [head.weight.replace(/\.weight$/, "")];
    for await (const layer of quantizeLayers(checkpoint, runner, { ...options, finished }, ctx)) {
      const spec = blocks[layer.layer];
      const file = join(parts, `${layer.layer}.safetensors`);
      await writeSafetensors(file, layerTensors(checkpoint, spec, layer, scheme), {}, ctx.signal);
      files.push(await openSafetensors(file));
      if (unfinished) await writeLayer(codesOf(layer.layer), layer);
      log.push(...layer.records);
      for (const [name, scales] of layer.activationScales) activationScales.set(name, scales);
      for (const role of linearRoles(spec)) {
        const quantized = layer.quantized.get(role);
        const name = moduleName(spec, role);
        if (quantized) modules.set(name, factsOf(quantized));
        else dense.push(name);
      }
    }
    if (modules.size === 0) {
      throw new LayerfoldError("NOTHING_QUANTIZED", "the overrides leave every module dense", {
        where: "overrides",
      });
    }
    for (const [name, facts] of embeddings.modules) modules.set(name, facts);
    const { damping } = scheme.quantizer.options;
    const config = quantizationConfig({
      format: scheme.format,
      modules,
      dense,
      quantizedActivations: scheme.quantizedActivations,
      trueSequential: scheme.trueSequential,
      ...(typeof damping === "number" && { damping }),
    });
    const tensors = [
      ...globalTensors(checkpoint, embeddings.names),
      ...embeddings.tensors,
      ...files.flatMap(sourcesOf),
    ];
    const written = await writeCheckpoint(
      directory,
      {
        config: { ...checkpoint.config, quantization_config: config },
        tensors,
        carryFrom: checkpoint,
        ...(force !== undefined && { force }),
        // GPTQ's readers before transformers' integration look for the same object here.
        ...(scheme.format.startsWith("gptq") && {
          extraFiles: { "quantize_config.json": `${JSON.stringify(config, null, 2)}\n` },
        }),
      },
      ctx,
    );
    return { written, log, embeddingBytes: embeddings.byteCount, activationScales };
  } finally {
    for (const file of files) await file.close();
    if (!unfinished) await rm(parts, { recursive: true, force: true });
  }
}

function factsOf({ bits, groupSize, shape, symmetric, encoding, groupIndex }: QuantizedTensor): ModuleFacts {
  return {
    bits,
    groupSize,
    shape,
    symmetric,
    ordered: groupIndex !== undefined,
    ...(encoding && { encoding }),
  };
}

/** A layer as the format stores it. */
function layerTensors(
  checkpoint: Checkpoint,
  spec: BlockSpec,
  { block, quantized }: QuantizedLayer,
  scheme: QuantizationScheme,
): TensorSource[] {
  const sources: TensorSource[] = [];
  for (const [role, name] of spec.tensors) {
    const codes = quantized.get(role);
    if (codes) {
      const module = moduleName(spec, role);
      if (spec.linearLayout === "in-out" && !scheme.format.startsWith("gptq")) {
        throw new LayerfoldError("QUANTIZATION_NOT_EXPRESSIBLE", `${scheme.format} knows no Conv1D layers`, {
          wanted: "gptq or gptq_v2 files",
          where: module,
        });
      }
      for (const { suffix, dtype, shape, bytes } of packedTensors(codes, scheme, checkpoint, module)) {
        sources.push({ name: `${module}.${suffix}`, dtype, shape, bytes: () => bytes });
      }
      continue;
    }
    const value = block.tensors.get(role);
    const dtype = checkpoint.tensors.get(name)?.dtype;
    if (!value || !dtype) throw new LayerfoldError("TENSOR_MISSING", `no tensor ${name}`);
    sources.push({
      name,
      dtype,
      shape: value.shape,
      bytes: () => encodeFloats(contiguousData(value), dtype),
    });
  }
  return sources;
}

function packedTensors(
  quantized: QuantizedTensor,
  scheme: QuantizationScheme,
  checkpoint: Checkpoint,
  module: string,
): PackedTensor[] {
  if (scheme.format === "awq") return packAwq(quantized, module);
  if (scheme.format !== "compressed-tensors") return packGptq(quantized, scheme.format, module);
  const layout = compressedTensorsLayout(quantized, scheme.quantizedActivations);
  return packCompressedTensors(quantized, layout, scaleDtype(checkpoint), module);
}

function scaleDtype({ dtype }: Checkpoint): "float16" | "bfloat16" | "float32" {
  return dtype === "float16" || dtype === "bfloat16" ? dtype : "float32";
}

/** The embedding, and a head of its own: rounded where there is a quantizer, else as they lie. */
async function embeddingTensors(
  checkpoint: Checkpoint,
  quantizer: Quantizer | undefined,
  ctx: RunContext,
): Promise<{
  names: ReadonlySet<string>;
  tensors: TensorSource[];
  byteCount: number;
  modules: Map<string, ModuleFacts>;
}> {
  const { embedding, head } = checkpoint.architecture;
  const names = new Set([embedding.tokens, head.weight]);
  const modules = new Map<string, ModuleFacts>();
  const tensors: TensorSource[] = [];
  let byteCount = 0;
  for (const name of names) {
    if (!quantizer) {
      tensors.push(asStored(checkpoint, name));
      byteCount += checkpoint.tensors.get(name)?.byteLength ?? 0;
      continue;
    }
    const module = name.replace(/\.weight$/, "");
    const weight = await checkpoint.read(name);
    checkFinite(weight, name);
    const quantized = await quantizer.quantize(weight, { tokenCount: 0 }, ctx);
    modules.set(module, { ...factsOf(quantized), embedding: true });
    for (const part of packCompressedTensors(quantized, "pack-quantized", scaleDtype(checkpoint), module)) {
      const { suffix, dtype, shape, bytes } = part;
      tensors.push({ name: `${module}.${suffix}`, dtype, shape, bytes: () => bytes });
      byteCount += bytes.byteLength;
    }
  }
  return { names, tensors, byteCount, modules };
}

function asStored(checkpoint: Checkpoint, name: string): TensorSource {
  const stored = checkpoint.tensors.get(name);
  if (!stored)
    throw new LayerfoldError("TENSOR_MISSING", `no tensor ${name}`, { where: checkpoint.directory });
  return { name, dtype: stored.dtype, shape: stored.shape, bytes: () => checkpoint.readBytes(name) };
}

/** What else stands outside the blocks, as it lies in the checkpoint. */
function globalTensors(checkpoint: Checkpoint, but: ReadonlySet<string>): TensorSource[] {
  return [...checkpoint.architecture.globals.keys()].flatMap((name) => {
    if (but.has(name) || !checkpoint.tensors.has(name)) return [];
    return [asStored(checkpoint, name)];
  });
}

function sourcesOf(file: SafetensorsFile): TensorSource[] {
  return [...file.tensors.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    bytes: () => file.readBytes(name),
  }));
}
