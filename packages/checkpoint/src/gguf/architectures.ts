import { type Architecture, LayerfoldError, suggestion } from "@layerfold/core";
import { falcon } from "./architectures/falcon.js";
import { gemma2 } from "./architectures/gemma2.js";
import { gemma3 } from "./architectures/gemma3.js";
import { gpt2 } from "./architectures/gpt2.js";
import { gptNeox } from "./architectures/gptneox.js";
import { granite } from "./architectures/granite.js";
import { jamba } from "./architectures/jamba.js";
import { llama } from "./architectures/llama.js";
import { mixtral } from "./architectures/mixtral.js";
import { olmo2 } from "./architectures/olmo2.js";
import { phi2 } from "./architectures/phi2.js";
import { phi3 } from "./architectures/phi3.js";
import { qwen2 } from "./architectures/qwen2.js";
import { qwen3 } from "./architectures/qwen3.js";
import { qwen3Moe } from "./architectures/qwen3-moe.js";
import { smollm3 } from "./architectures/smollm3.js";
import { stablelm } from "./architectures/stablelm.js";
import type { GgufArchitecture } from "./gguf-architecture.js";

/** Every architecture that both llama.cpp and `families.ts` know. */
export const ggufArchitectures: readonly GgufArchitecture[] = [
  falcon,
  gemma2,
  gemma3,
  gpt2,
  gptNeox,
  granite,
  jamba,
  llama,
  mixtral,
  olmo2,
  phi2,
  phi3,
  qwen2,
  qwen3,
  qwen3Moe,
  smollm3,
  stablelm,
];

/**
 * The description of a file's architecture.
 * @throws GGUF_ARCHITECTURE, naming those that are known
 */
export function ggufArchitectureOf(
  metadata: Readonly<Record<string, unknown>>,
  file: string,
): GgufArchitecture {
  const name = String(metadata["general.architecture"]);
  const experts = Number(metadata[`${name}.expert_count`] ?? 0) > 0;
  const known = ggufArchitectures.find((one) => one.name === name && (one.experts ?? false) === experts);
  if (known) return known;
  const names = [...new Set(ggufArchitectures.map((one) => one.name))];
  throw new LayerfoldError(
    "GGUF_ARCHITECTURE",
    `cannot import this architecture${names.includes(name) ? "" : suggestion(name, names)}`,
    {
      wanted: `${names.join(", ")} (with experts: ${ggufArchitectures
        .filter((one) => one.experts)
        .map((one) => `${one.modelType} as ${one.name}`)
        .join(", ")})`,
      got: `${name}${experts ? " with experts" : names.includes(name) ? " without experts" : ""}`,
      where: `${file}, general.architecture`,
    },
  );
}

/** Families that llama.cpp runs under another's name. */
const runAs: Readonly<Record<string, string>> = { mistral: "llama" };

/**
 * The description by which a model is written.
 * @throws GGUF_ARCHITECTURE, naming the families that llama.cpp has
 */
export function ggufArchitectureFor({ modelType }: Architecture, where: string): GgufArchitecture {
  const name = runAs[modelType] ?? modelType;
  const known = ggufArchitectures.find((one) => one.modelType === name);
  if (known) return known;
  throw new LayerfoldError("GGUF_ARCHITECTURE", "llama.cpp has no such family", {
    wanted: [...ggufArchitectures.map((one) => one.modelType), ...Object.keys(runAs)].sort().join(", "),
    got: modelType,
    where: `${where}, model_type`,
  });
}
