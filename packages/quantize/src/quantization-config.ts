import type { ModelConfig } from "@layerfold/checkpoint";
import type { QuantizedTensor } from "@layerfold/core";
import { refuse } from "./packed-tensor.js";
import type { QuantizedFormat } from "./scheme.js";

/** What a config must say of one quantised module. */
export type ModuleFacts = Pick<QuantizedTensor, "bits" | "groupSize" | "shape" | "symmetric" | "encoding"> & {
  /** Whether the module has an order of channels of its own (g_idx). */
  readonly ordered: boolean;
  /** An embedding or a head: its inputs are never rounded, and "Linear" does not mean it. */
  readonly embedding?: boolean;
};

export interface QuantizationFacts {
  readonly format: QuantizedFormat;
  readonly modules: ReadonlyMap<string, ModuleFacts>;
  /** Linear maps that stay dense, `lm_head` among them. */
  readonly dense: readonly string[];
  readonly quantizedActivations: boolean;
  readonly trueSequential: boolean;
  /** As asked for; files of GPTQ state it. */
  readonly damping?: number;
}

/**
 * The `quantization_config` that the format's readers (transformers, vLLM, GPTQModel, AutoAWQ) look for. What most modules share becomes
 * the default, and the others are named.
 *
 * @throws QUANTIZATION_NOT_EXPRESSIBLE where AWQ modules differ in their settings
 */
export function quantizationConfig(facts: QuantizationFacts): ModelConfig {
  if (facts.format === "compressed-tensors") return compressedTensorsConfig(facts);
  const [usual, ...others] = settingsOf(facts.modules);
  const { bits, groupSize, symmetric, ordered } = usual;
  if (facts.format === "awq") {
    if (others.length > 0) {
      refuse("AWQ", "one setting for all modules", `another for ${others[0].names[0]}`, "overrides");
    }
    return {
      quant_method: "awq",
      bits,
      group_size: groupSize,
      zero_point: true,
      version: "gemm",
      modules_to_not_convert: facts.dense.length > 0 ? facts.dense : null,
    };
  }
  const dynamic: Record<string, unknown> = {};
  // A head that stays dense is said by `lm_head: false`.
  for (const name of facts.dense) if (name !== "lm_head") dynamic[`-:^${escaped(name)}$`] = {};
  for (const { names, ...other } of others) {
    for (const name of names) {
      dynamic[`+:^${escaped(name)}$`] = {
        bits: other.bits,
        group_size: other.groupSize,
        sym: other.symmetric,
        desc_act: other.ordered,
      };
    }
  }
  return {
    bits,
    group_size: groupSize,
    desc_act: ordered,
    sym: symmetric,
    lm_head: false,
    dynamic: Object.keys(dynamic).length > 0 ? dynamic : null,
    quant_method: "gptq",
    method: "gptq",
    format: facts.format,
    checkpoint_format: facts.format,
    pack_dtype: "int32",
    true_sequential: facts.trueSequential,
    static_groups: false,
    damp_percent: facts.damping ?? 0.01,
    modules_in_block_to_quantize: null,
    meta: { quantizer: ["layerfold:0.1.0"] },
  };
}

/** How compressed-tensors lays a module out, by what it is. */
export function compressedTensorsLayout(
  { encoding, bits }: Pick<QuantizedTensor, "encoding" | "bits">,
  quantizedActivations: boolean,
): "pack-quantized" | "int-quantized" | "float-quantized" {
  if (encoding) return "float-quantized";
  return quantizedActivations && bits === 8 ? "int-quantized" : "pack-quantized";
}

function compressedTensorsConfig({ modules, dense, quantizedActivations }: QuantizationFacts): ModelConfig {
  const configGroups = settingsOf(modules).map(({ names, ...settings }, index) => {
    const layout = compressedTensorsLayout(settings, quantizedActivations && !settings.embedding);
    const isFloat = layout === "float-quantized";
    return {
      format: layout,
      input_activations:
        layout === "pack-quantized" ? null : quantizationArguments({ bits: 8, isFloat, activations: true }),
      output_activations: null,
      // Exact names rule over the class name, so the usual group may take all that is left.
      targets: index === 0 ? ["Linear"] : names,
      weights: quantizationArguments({ ...settings, isFloat, activations: false }),
    };
  });
  const layouts = new Set(configGroups.map(({ format }) => format));
  return {
    config_groups: Object.fromEntries(configGroups.map((group, index) => [`group_${index}`, group])),
    format: layouts.size === 1 ? configGroups[0].format : "mixed-precision",
    global_compression_ratio: null,
    ignore: dense,
    kv_cache_scheme: null,
    quant_method: "compressed-tensors",
    quantization_status: "compressed",
    sparsity_config: {},
    transform_config: {},
  };
}

/** A QuantizationArgs object; its reader forbids unknown keys. */
function quantizationArguments(options: {
  bits: number;
  isFloat: boolean;
  activations: boolean;
  symmetric?: boolean;
  ordered?: boolean;
  groupSize?: number;
}): ModelConfig {
  const { bits, isFloat, activations, symmetric = true, ordered = false, groupSize = -1 } = options;
  return {
    actorder: ordered ? "group" : null,
    block_structure: null,
    dynamic: activations,
    group_size: groupSize === -1 ? null : groupSize,
    num_bits: bits,
    observer: activations ? null : "memoryless_minmax",
    observer_kwargs: {},
    scale_dtype: null,
    strategy: activations ? "token" : groupSize === -1 ? "channel" : "group",
    symmetric,
    type: isFloat ? "float" : "int",
    zp_dtype: symmetric ? null : "torch.int8",
  };
}

/** What modules can share. */
interface Settings {
  readonly bits: number;
  /** −1: the whole row. */
  readonly groupSize: number;
  readonly symmetric: boolean;
  readonly ordered: boolean;
  readonly encoding?: "float8_e4m3";
  readonly embedding: boolean;
  readonly names: string[];
}

/** Modules of equal settings together; the largest set first. */
function settingsOf(modules: ReadonlyMap<string, ModuleFacts>): Settings[] {
  const all = [...modules.values()];
  const sizes = new Set(
    all.filter(({ groupSize, shape }) => groupSize !== shape[1]).map(({ groupSize }) => groupSize),
  );
  const sets = new Map<string, Settings>();
  for (const [name, facts] of modules) {
    const { bits, groupSize, shape, symmetric, ordered, encoding, embedding = false } = facts;
    // A row of one group is an ordinary group where other modules have groups of that size.
    const size = groupSize === shape[1] && !sizes.has(groupSize) ? -1 : groupSize;
    const key = JSON.stringify([bits, size, symmetric, ordered, encoding, embedding]);
    const set = sets.get(key) ?? {
      bits,
      groupSize: size,
      symmetric,
      ordered,
      ...(encoding && { encoding }),
      embedding,
      names: [],
    };
    set.names.push(name);
    sets.set(key, set);
  }
  return [...sets.values()].sort(
    (a, b) => Number(a.embedding) - Number(b.embedding) || b.names.length - a.names.length,
  );
}

function escaped(name: string): string {
  return name.replaceAll(".", "\\.");
}
