import { type Checkpoint, layerOf, type ModelConfig } from "@layerfold/checkpoint";
import {
  type Diagnostic,
  LayerfoldError,
  nameOrQuoted,
  type QuantizedTensor,
  quoted,
  type RunContext,
} from "@layerfold/core";
import type { ActivationRounding } from "@layerfold/onnx";
import { unpackAwq } from "./awq-format.js";
import { unpackCompressedTensors, unpackFloat8 } from "./compressed-tensors-format.js";
import { type GptqVersion, unpackGptq } from "./gptq-format.js";
import { modulePattern } from "./module-pattern.js";
import type { PackedTensor } from "./packed-tensor.js";

/** Whether a checkpoint says that its weights are quantised. */
export function isQuantized(checkpoint: Pick<Checkpoint, "config">): boolean {
  return checkpoint.config.quantization_config != null;
}

async function unpackModule(
  checkpoint: Checkpoint,
  module: string,
  report?: RunContext["report"],
): Promise<QuantizedTensor> {
  const config = checkpoint.config.quantization_config as ModelConfig;
  const parts = new Map<string, PackedTensor>();
  for (const [name, { dtype, shape }] of checkpoint.tensors) {
    if (!name.startsWith(`${module}.`)) continue;
    const suffix = name.slice(module.length + 1);
    if (suffix !== "bias")
      parts.set(suffix, { suffix, dtype, shape, bytes: await checkpoint.readBytes(name) });
  }
  switch (config.quant_method) {
    case "gptq":
      return unpackGptq(parts, gptqSettings(config, module), module, report as (event: Diagnostic) => void);
    case "awq": {
      const version = nameOrQuoted(config.version ?? "gemm").toLowerCase();
      if (version !== "gemm") throw unsupported(`awq ${version}`, "awq gemm", module);
      if (config.bits !== undefined && config.bits !== 4) {
        throw unsupported(`awq with ${quoted(config.bits)} bits`, "4 bits", module);
      }
      const groupSize = config.group_size as number | undefined;
      return unpackAwq(
        parts,
        { symmetric: config.zero_point === false, ...(groupSize && { groupSize }) },
        module,
      );
    }
    case "compressed-tensors":
      return unpackCompressedTensors(parts, compressedTensorsSettings(config, module), module);
    case "fp8":
      return unpackFloat8(parts, float8Blocks(config, module), module);
    default:
      throw unsupported(nameOrQuoted(config.quant_method), "gptq, awq, compressed-tensors or fp8", module);
  }
}

function gptqSettings(
  config: ModelConfig,
  module: string,
): { version: GptqVersion; groupSize?: number; symmetric: boolean } {
  const override = Object.entries((config.dynamic ?? {}) as Record<string, ModelConfig>).find(
    ([pattern]) => !pattern.startsWith("-:") && matches(pattern.replace(/^\+:/, ""), module),
  )?.[1];
  const { group_size: groupSize, sym } = { ...config, ...override };
  const version = config.checkpoint_format ?? config.format ?? "gptq";
  if (version !== "gptq" && version !== "gptq_v2")
    throw unsupported(`gptq ${nameOrQuoted(version)}`, "gptq or gptq_v2", module);
  return { version, symmetric: sym !== false, ...(typeof groupSize === "number" && { groupSize }) };
}

/** Rows and columns that share a scale; undefined where one scale is said to hold for all. */
function float8Blocks(config: ModelConfig, module: string): readonly [number, number] | undefined {
  const { weight_block_size: block } = config;
  if (block == null) return undefined;
  if (isBlock(block)) return block;
  throw unsupported(`weight_block_size ${quoted(block)}`, "two whole numbers ≥ 1", module);
}

function isBlock(value: unknown): value is readonly [number, number] {
  const natural = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 1;
  return Array.isArray(value) && value.length === 2 && value.every(natural);
}

/** How the file's readers round the inputs of a module: not at all, as simulated here, or in a way that is not. */
export type InputRounding = undefined | ActivationRounding | { readonly notSimulated: string };

/** What a file asks of a module's inputs. A scale per group of channels, or per batch, is not simulated. */
export async function activationRounding(checkpoint: Checkpoint, module: string): Promise<InputRounding> {
  const config = checkpoint.config.quantization_config as ModelConfig;
  if (config.quant_method === "fp8") {
    const fixed = `${module}.input_scale`;
    if (config.activation_scheme === "static" && checkpoint.tensors.get(fixed)) {
      const { data } = await checkpoint.read(fixed);
      if (data.length === 1) return { encoding: "float8_e4m3", scale: data[0] };
    }
    return { notSimulated: `float8, ${config.activation_scheme ?? "dynamic"}` };
  }
  if (config.quant_method !== "compressed-tensors") return undefined;
  const activations = configGroup(config, module)?.input_activations as ModelConfig | null | undefined;
  if (!activations) return undefined;
  const { num_bits: bits, type, dynamic, strategy, symmetric } = activations;
  const encoding = type === "float" ? ("float8_e4m3" as const) : ("int8" as const);
  if (bits === 8 && symmetric !== false) {
    if (dynamic === true && strategy === "token") return { encoding };
    const fixed = `${module}.input_scale`;
    if (dynamic === false && strategy === "tensor" && checkpoint.tensors.has(fixed)) {
      return { encoding, scale: (await checkpoint.read(fixed)).data[0] };
    }
  }
  return { notSimulated: `${bits} bits, ${strategy}, dynamic ${dynamic}` };
}

/** The config group that targets a module: by its exact name, else by pattern, else by the class of all. */
function configGroup(config: ModelConfig, module: string): ModelConfig | undefined {
  const groups = Object.values((config.config_groups ?? {}) as Record<string, ModelConfig>);
  const targeting = (matches: (target: string) => boolean) =>
    groups.find((group) => ((group.targets ?? []) as string[]).some(matches));
  return (
    targeting((target) => target === module) ??
    targeting((target) => target.startsWith("re:") && matches(target.slice(3), module)) ??
    targeting((target) => target === "Linear")
  );
}

/** Whether a pattern of a config matches a name from its start on, as Python's `re.match` does. */
function matches(pattern: string, module: string): boolean {
  return modulePattern(`^(?:${pattern})`, "CONFIG_INVALID", "config.json, quantization_config")(module);
}

function compressedTensorsSettings(
  config: ModelConfig,
  module: string,
): { bits: number; groupSize?: number; blockShape?: readonly [number, number] } {
  const group = configGroup(config, module);
  const weights = group?.weights as ModelConfig | null | undefined;
  if (!weights) throw unsupported("no config group for the module", "one that targets it", module);
  const layout = nameOrQuoted(group?.format ?? config.format);
  if (!["pack-quantized", "int-quantized", "float-quantized", "naive-quantized"].includes(layout)) {
    throw unsupported(layout, "pack-quantized, int-quantized or float-quantized", module);
  }
  const { num_bits: bits, group_size: groupSize, block_structure: block } = weights;
  return {
    bits: Number(bits),
    ...(typeof groupSize === "number" && { groupSize }),
    ...(block != null && { blockShape: blockStructure(block, module) }),
  };
}

/** `[128, 128]`, or `"128x128"` as older files have it. */
function blockStructure(structure: unknown, module: string): readonly [number, number] {
  const block = typeof structure === "string" ? structure.split("x").map(Number) : structure;
  if (isBlock(block)) return block;
  throw unsupported(`block_structure ${quoted(structure)}`, "two whole numbers ≥ 1", module);
}

/**
 * Reads one module of a GPTQ (v1 or v2), AWQ gemm, compressed-tensors or float8 (block scales, as DeepSeek and Qwen have them)
 * checkpoint.
 *
 * @param module - its name, without `.weight`
 * @throws QUANTIZATION_UNSUPPORTED for another method or layout, QUANTIZED_TENSOR_INVALID, TENSOR_SHAPE where the architecture asks for
 * another shape
 */
export async function readQuantizedModule(
  checkpoint: Checkpoint,
  module: string,
  report?: RunContext["report"],
): Promise<QuantizedTensor> {
  const quantized = await unpackModule(checkpoint, module, report);
  const wanted = wantedShape(checkpoint, `${module}.weight`);
  const { shape } = quantized;
  if (!wanted || (shape[0] === wanted[0] && shape[1] === wanted[1])) return quantized;
  throw new LayerfoldError("TENSOR_SHAPE", `the config asks for another shape of ${module}.weight`, {
    wanted: `[${wanted.join(", ")}]`,
    got: `[${shape.join(", ")}]`,
    where: checkpoint.directory,
  });
}

/** [out, in] of a linear map. */
function wantedShape(
  { family, architecture }: Pick<Checkpoint, "family" | "architecture">,
  name: string,
): readonly number[] | undefined {
  const layer = layerOf(family, name);
  if (layer === undefined) return architecture.globals.get(name);
  const block = architecture.blocks[layer];
  const [role] = [...(block?.tensors ?? [])].find(([, stored]) => stored === name) ?? [];
  if (!role) return undefined;
  const shape = block.shapes.get(role)!;
  return block.linearLayout === "in-out" ? [...shape].reverse() : shape;
}

function unsupported(got: string, wanted: string, where: string): LayerfoldError {
  return new LayerfoldError("QUANTIZATION_UNSUPPORTED", "cannot read this quantisation", {
    wanted,
    got,
    where,
  });
}
