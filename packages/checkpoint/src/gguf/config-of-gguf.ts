import { elementCount, LayerfoldError, type RunContext } from "@layerfold/core";
import type { ModelConfig } from "../family.js";
import { ggufArchitectureOf } from "./architectures.js";
import { float32Decimal } from "./float32-decimal.js";
import type { GgufArchitecture, GgufField } from "./gguf-architecture.js";
import type { GgufFile } from "./read-gguf.js";
import { ropeScalingOf } from "./rope-of-gguf.js";

/** Entries that say nothing of the computation, or what the tensors say as well. */
const told = ["vocab_size", "tensor_data_layout", "attention.value_length", "rope.dimension_count"];

/**
 * The config.json that a GGUF file's metadata amount to, and the description by which they were read. An entry of the architecture that
 * has no place in the config is reported.
 * @throws GGUF_ARCHITECTURE for one that is not known, GGUF_SPLIT, GGUF_METADATA for a missing or unusable entry, GGUF_ROPE for a scaling
 * without a name in transformers
 */
export async function configOfGguf(
  gguf: GgufFile,
  file: string,
  report?: RunContext["report"],
): Promise<{ config: ModelConfig; architecture: GgufArchitecture }> {
  const { metadata, tensors } = gguf;
  const architecture = ggufArchitectureOf(metadata, file);
  if (Number(metadata["split.count"] ?? 1) > 1) {
    throw new LayerfoldError(
      "GGUF_SPLIT",
      "one part of a split file; llama.cpp's `llama-gguf-split --merge` joins them",
      { wanted: "a whole file", got: `one of ${metadata["split.count"]} parts`, where: file },
    );
  }
  const entries = entriesOf(gguf, architecture, file);
  const config: Record<string, unknown> = {
    architectures: [architecture.className],
    model_type: architecture.modelType,
  };
  for (const [name, field] of Object.entries(architecture.fields)) {
    const value = entries.field(field, config);
    if (value !== undefined) config[name] = value;
  }
  const headSize = checkSizes(gguf, architecture, entries);
  for (const [name, part] of Object.entries(architecture.presence ?? {})) {
    config[name] = tensors.has(`blk.0.${part}`) || tensors.has(`blk.0.${part.replace(/_[qkv]\./, "_qkv.")}`);
  }
  Object.assign(config, architecture.constants, {
    vocab_size: tensors.get("token_embd.weight")!.shape[0],
    tie_word_embeddings: !tensors.has("output.weight"),
  });
  Object.assign(
    config,
    architecture.derived?.({ config, has: (tensor) => tensors.has(tensor), entry: entries.value }),
  );
  if (architecture.rotary) {
    Object.assign(config, rotaryShareOf(architecture, entries, headSize));
    const rotary = { base: Number(config.rope_theta ?? config.rotary_emb_base), headSize };
    config.rope_scaling = await ropeScalingOf(gguf, entries, rotary, file);
  }
  for (const token of ["bos", "eos", "pad"]) {
    const id = metadata[`tokenizer.ggml.${token === "pad" ? "padding" : token}_token_id`];
    if (id !== undefined && Number.isInteger(Number(id))) config[`${token}_token_id`] = Number(id);
  }
  const unused = entries.unused().filter((key) => !told.includes(key));
  if (unused.length > 0) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "GGUF_METADATA_UNUSED",
      message: `${file}: no place in the config for ${unused.map((key) => `${architecture.name}.${key}`).join(", ")}`,
    });
  }
  return { config, architecture };
}

/** The entries under an architecture's name. */
export type GgufEntries = ReturnType<typeof entriesOf>;

function entriesOf({ metadata }: GgufFile, { name: architecture }: GgufArchitecture, file: string) {
  const asked = new Set<string>();
  const refuse = (key: string, wanted: string, got: unknown) =>
    new LayerfoldError("GGUF_METADATA", `cannot use ${architecture}.${key}`, {
      wanted,
      got: got === undefined ? "no such entry" : String(got).slice(0, 80),
      where: file,
    });
  /** Undefined where it is absent; a list has one element for each block. */
  function value(key: string): unknown {
    asked.add(key);
    const found = metadata[`${architecture}.${key}`];
    const blocks = Number(metadata[`${architecture}.block_count`]);
    if (Array.isArray(found) && found.length !== blocks)
      throw refuse(key, `${blocks} elements, one for each block`, `${found.length} elements`);
    return found;
  }
  function field({ key, kind, absent }: GgufField, config: ModelConfig): unknown {
    const found = value(key);
    if (found === undefined && absent) return absent(config);
    if (kind === "boolean") {
      if (typeof found !== "boolean") throw refuse(key, "true or false", found);
      return found;
    }
    if (typeof found !== "number" || !Number.isFinite(found)) throw refuse(key, "a number", found);
    if (kind === "number") return float32Decimal(found);
    const least = kind === "window" ? 0 : 1;
    if (!Number.isSafeInteger(found) || found < least) throw refuse(key, `a whole number ≥ ${least}`, found);
    return found === 0 ? null : found;
  }
  return {
    value,
    field,
    refuse,
    /** Keys that nobody asked for. */
    unused: () =>
      Object.keys(metadata)
        .filter((key) => key.startsWith(`${architecture}.`))
        .map((key) => key.slice(architecture.length + 1))
        .filter((key) => !asked.has(key)),
  };
}

/**
 * Holds the sizes that things are made by against the tensors, which lie in the file: a lie costs no memory.
 * @returns the size of an attention head
 */
function checkSizes({ tensors }: GgufFile, architecture: GgufArchitecture, entries: GgufEntries): number {
  const count = (key: string, absent?: () => number) =>
    entries.field({ key, kind: "count", absent }, {}) as number;
  const embedding = tensors.get("token_embd.weight");
  const hiddenSize = count("embedding_length");
  if (embedding?.shape.length !== 2 || embedding.shape[1] !== hiddenSize) {
    throw entries.refuse(
      "embedding_length",
      embedding ? `the ${embedding.shape.at(-1)} columns of token_embd.weight` : "a tensor token_embd.weight",
      hiddenSize,
    );
  }
  const blocks = count("block_count");
  if (blocks > tensors.size)
    throw entries.refuse("block_count", `at most the file's ${tensors.size} tensors`, blocks);
  const heads = count("attention.head_count");
  const fromHidden = hiddenSize / heads;
  const headSize = count("attention.key_length", () => fromHidden);
  const most = Math.max(...[...tensors.values()].map(({ shape }) => elementCount(shape)));
  if (!Number.isInteger(headSize))
    throw entries.refuse("attention.head_count", `a divisor of ${hiddenSize}`, heads);
  if (heads * headSize > most)
    throw entries.refuse("attention.head_count", "heads that fit into a tensor of the file", heads);
  if (
    count("attention.value_length", () => headSize) !== headSize ||
    (!("head_dim" in architecture.fields) && headSize !== fromHidden)
  )
    throw entries.refuse("attention.key_length", `${fromHidden}, for keys and values alike`, headSize);
  if (architecture.experts) {
    const stack = [...tensors.values()].find(({ name }) => name.endsWith(".ffn_gate_exps.weight"));
    if (stack?.shape[0] !== count("expert_count"))
      throw entries.refuse(
        "expert_count",
        stack ? `the ${stack.shape[0]} experts of ${stack.name}` : "experts in one tensor, ffn_gate_exps",
        count("expert_count"),
      );
    if (count("expert_used_count") > count("expert_count"))
      throw entries.refuse(
        "expert_used_count",
        `at most ${count("expert_count")}`,
        count("expert_used_count"),
      );
  }
  return headSize;
}

function rotaryShareOf(
  { rotaryShare }: GgufArchitecture,
  entries: GgufEntries,
  headSize: number,
): ModelConfig {
  const key = "rope.dimension_count";
  const rotated = entries.field({ key, kind: "count", absent: () => headSize }, {}) as number;
  if (!rotaryShare && rotated !== headSize)
    throw entries.refuse(key, `the ${headSize} dimensions of a head`, rotated);
  if (rotated > headSize) throw entries.refuse(key, `at most the ${headSize} dimensions of a head`, rotated);
  if (rotaryShare) return { [rotaryShare]: rotated / headSize };
  return {};
}
