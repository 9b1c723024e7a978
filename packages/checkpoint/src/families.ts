import type { Architecture } from "@layerfold/core";
import { LayerfoldError, suggestion } from "@layerfold/core";
import { readConfig } from "./config-reader.js";
import { falcon } from "./families/falcon.js";
import { gemma2 } from "./families/gemma2.js";
import { gemma3Text } from "./families/gemma3-text.js";
import { gptNeox } from "./families/gpt-neox.js";
import { gpt2 } from "./families/gpt2.js";
import { granite } from "./families/granite.js";
import { jamba } from "./families/jamba.js";
import { llama } from "./families/llama.js";
import { mistral } from "./families/mistral.js";
import { mixtral } from "./families/mixtral.js";
import { olmo2 } from "./families/olmo2.js";
import { opt } from "./families/opt.js";
import { phi } from "./families/phi.js";
import { phi3 } from "./families/phi3.js";
import { qwen2 } from "./families/qwen2.js";
import { qwen3 } from "./families/qwen3.js";
import { qwen3Moe } from "./families/qwen3-moe.js";
import { smollm3 } from "./families/smollm3.js";
import { stablelm } from "./families/stablelm.js";
import type { Family, ModelConfig } from "./family.js";

const families: readonly Family[] = [
  falcon,
  gemma2,
  gemma3Text,
  gpt2,
  gptNeox,
  granite,
  jamba,
  llama,
  mistral,
  mixtral,
  olmo2,
  opt,
  phi,
  phi3,
  qwen2,
  qwen3,
  qwen3Moe,
  smollm3,
  stablelm,
];

/** The `model_type` values that are known. */
export function knownModelTypes(): string[] {
  return families.flatMap((family) => family.modelTypes).sort();
}

/**
 * The family of a config.
 * @throws ARCHITECTURE_UNKNOWN, naming the known model types and the nearest
 */
export function familyOf(config: ModelConfig): Family {
  const modelType = readConfig(config).string("model_type");
  const family = families.find(({ modelTypes }) => modelTypes.includes(modelType));
  if (family) return family;
  const known = knownModelTypes();
  throw new LayerfoldError("ARCHITECTURE_UNKNOWN", `unknown architecture${suggestion(modelType, known)}`, {
    wanted: `a model_type among ${known.join(", ")}`,
    got: modelType,
    where: "config.json, model_type",
  });
}

/**
 * The decoder that a config describes.
 * @param names - the checkpoint's tensor names, where they may lack the family's prefix ("h.0.…" for "transformer.h.0.…")
 */
export function architectureOf(config: ModelConfig, names?: Iterable<string>): Architecture {
  const family = familyOf(config);
  const { basePrefix, layerPrefix } = family;
  const all = [...(names ?? [])];
  const bare =
    all.some((name) => name.startsWith(layerPrefix)) &&
    !all.some((name) => name.startsWith(basePrefix + layerPrefix));
  return family.architecture(config, { bare });
}
