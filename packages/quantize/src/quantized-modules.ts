import type { Checkpoint, ModelConfig } from "@layerfold/checkpoint";
import { type Diagnostic, LayerfoldError, type QuantizedTensor, type RunContext } from "@layerfold/core";
import type { ActivationRounding } from "@layerfold/onnx";
import { unpackAwq } from "./awq-format.js";
import { unpackCompressedTensors } from "./compressed-tensors-format.js";
import { type GptqVersion, unpackGptq } from "./gptq-format.js";
import { modulePattern } from "./module-pattern.js";
import type { PackedTensor } from "./packed-tensor.js";

/** Whether a checkpoint says that its weights are quantised. */
export function isQuantized(checkpoint: Pick<Checkpoint, "config">): boolean {
  return checkpoint.config.quantization_config != null;
}

/** Names of the quantised modules, e.g. `model.layers.0.mlp.down_proj`, by what their tensors are called. */
export function quantizedModules(checkpoint: Pick<Checkpoint, "tensors">): string[] {
  return [...checkpoint.tensors.keys()].flatMap((name) => {
    const match = /^(.+)\.(qweight|weight_packed|weight_scale)$/.exec(name);
    if (!match) return [];
    // `weight_scale` alone marks a module whose codes lie in `weight`.
    return match[2] === "weight_scale" && checkpoint.tensors.has(`${match[1]}.weight_packed`)
      ? []
      : [match[1]];
  });
}

/**
 * Reads one module of a GPTQ (v1 or v2), AWQ gemm or compressed-tensors checkpoint.
 *
 * @param module - its name, without `.weight`
 * @throws QUANTIZATION_UNSUPPORTED for another method or layout, QUANTIZED_TENSOR_INVALID
 */
export async function readQuantizedModule(
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
      const version = String(config.version ?? "gemm").toLowerCase();
      if (version !== "gemm") throw unsupported(`awq ${version}`, "awq gemm", module);
      const groupSize = (config.group_size ?? config.q_group_size) as number | undefined;
      return unpackAwq(
        parts,
        { symmetric: config.zero_point === false, ...(groupSize && { groupSize }) },
        module,
      );
    }
    case "compressed-tensors":
      return unpackCompressedTensors(parts, compressedTensorsSettings(config, module), module);
    default:
      throw unsupported(String(config.quant_method), "gptq, awq or compressed-tensors", module);
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
    throw unsupported(`gptq ${version}`, "gptq or gptq_v2", module);
  return { version, symmetric: sym !== false, ...(typeof groupSize === "number" && { groupSize }) };
}

/**
 * How the file's readers round the inputs of a module; undefined: not at all. What cannot be simulated (a scale per group of channels, or
 * per batch) is reported, and left out.
 */
export async function activationRounding(
  checkpoint: Checkpoint,
  module: string,
  report?: RunContext["report"],
): Promise<ActivationRounding | undefined> {
  const config = checkpoint.config.quantization_config as ModelConfig;
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
  report?.({
    type: "diagnostic",
    severity: "warning",
    code: "ACTIVATIONS_NOT_QUANTIZED",
    message: `${module}: inputs are not rounded as the file asks (${bits} bits, ${strategy}, dynamic ${dynamic})`,
  });
  return undefined;
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
): { bits: number; groupSize?: number; blockShape?: [number, number] } {
  const group = configGroup(config, module);
  const weights = group?.weights as ModelConfig | null | undefined;
  if (!weights) throw unsupported("no config group for the module", "one that targets it", module);
  const layout = group?.format ?? config.format;
  if (!["pack-quantized", "int-quantized", "float-quantized", "naive-quantized"].includes(String(layout))) {
    throw unsupported(String(layout), "pack-quantized, int-quantized or float-quantized", module);
  }
  const { num_bits: bits, group_size: groupSize, block_structure: block } = weights;
  return {
    bits: Number(bits),
    ...(typeof groupSize === "number" && { groupSize }),
    ...(Array.isArray(block) && { blockShape: block as [number, number] }),
  };
}

function unsupported(got: string, wanted: string, where: string): LayerfoldError {
  return new LayerfoldError("QUANTIZATION_UNSUPPORTED", "cannot read this quantisation", {
    wanted,
    got,
    where,
  });
}
