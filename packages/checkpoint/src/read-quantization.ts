import { join } from "node:path";
import type { RunContext } from "@layerfold/core";
import { nameOrQuoted } from "@layerfold/core";
import { readConfig } from "./config-reader.js";
import type { ModelConfig } from "./family.js";

/** Files that name a quantisation where config.json does not. */
export const quantizationFiles = ["quantize_config.json", "quant_config.json", "hf_quant_config.json"];

/**
 * A config whose quantisation stands under `quantization_config`, with its `quant_method`, whatever key or file carried it:
 * `compression_config` (compressed-tensors before 0.8), `quantization` (MLX), or a file of its own (AutoGPTQ, AutoAWQ, ModelOpt).
 *
 * @param directory - the checkpoint's folder
 * @param read - a JSON object in a file of the folder; undefined where there is none
 * @throws CONFIG_INVALID where a key holds no object, and what `read` throws
 */
export async function withQuantization(
  config: ModelConfig,
  directory: string,
  names: Iterable<string>,
  read: (file: string) => Promise<ModelConfig | undefined>,
  report?: RunContext["report"],
): Promise<ModelConfig> {
  const c = readConfig(config);
  const { compression_config: _, ...rest } = config;
  const named = c.object("quantization_config");
  if (named) return { ...rest, quantization_config: withMethod(named) };
  const say = (place: string) =>
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "QUANTIZATION_CONFIG_ELSEWHERE",
      message: `the quantisation is the one that ${place} names: config.json has no quantization_config`,
    });
  const older = c.object("compression_config");
  if (older) {
    say("compression_config");
    return { ...rest, quantization_config: withMethod({ quant_method: "compressed-tensors", ...older }) };
  }
  if (config.quantization != null) {
    return { ...rest, quantization_config: { quant_method: "mlx", ...c.object("quantization") } };
  }
  // A file that dense weights were left with says nothing.
  const packed = [...names].some((name) => name.endsWith(".qweight"));
  for (const file of quantizationFiles) {
    const found = await read(join(directory, file));
    if (!found) continue;
    if (file === "hf_quant_config.json") {
      const quantization = readConfig(found, file).object("quantization");
      if (quantization?.quant_algo == null) continue;
      return { ...rest, quantization_config: { ...quantization, quant_method: "modelopt" } };
    }
    if (!packed) continue;
    say(file);
    return { ...rest, quantization_config: withMethod(found, file === "quant_config.json" ? "awq" : "gptq") };
  }
  return config;
}

/** AutoAWQ's and bitsandbytes' older fields by their present names; the method in lower case, and never absent where it is plain. */
function withMethod(quantization: ModelConfig, fallback?: string): ModelConfig {
  const { w_bit, q_group_size, ...rest } = quantization;
  const method = rest.quant_method ?? rest.method ?? methodBehind(quantization) ?? fallback;
  return {
    ...rest,
    ...(method !== undefined && { quant_method: nameOrQuoted(method).toLowerCase() }),
    ...(w_bit !== undefined && { bits: w_bit }),
    ...(q_group_size !== undefined && { group_size: q_group_size }),
  };
}

function methodBehind(quantization: ModelConfig): string | undefined {
  if ("w_bit" in quantization) return "awq";
  if ("config_groups" in quantization) return "compressed-tensors";
  if ("load_in_8bit" in quantization || "load_in_4bit" in quantization) return "bitsandbytes";
  return undefined;
}
