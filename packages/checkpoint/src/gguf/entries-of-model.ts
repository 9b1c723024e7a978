import type { Architecture, AttentionSpec, MambaSpec, MoeSpec } from "@layerfold/core";
import type { ModelConfig } from "../family.js";
import type { GgufArchitecture, GgufField } from "./gguf-architecture.js";
import { normsOf } from "./tensor-turn.js";
import type { GgufEntry } from "./write-header.js";

/** What entries are made from. */
interface Model {
  readonly architecture: Architecture;
  readonly config: ModelConfig;
  /** Of the layers that have one. */
  readonly attention: readonly AttentionSpec[];
  readonly mamba: MambaSpec | undefined;
  readonly experts: MoeSpec | undefined;
}

type Value = number | boolean | readonly number[] | readonly boolean[] | undefined;

/** What a model says under each key that `GgufArchitecture.fields` names; undefined leaves the entry out. */
const values: Readonly<Record<string, (model: Model) => Value>> = {
  block_count: ({ architecture }) => architecture.blocks.length,
  context_length: ({ architecture }) => architecture.maxPositionEmbeddings,
  embedding_length: ({ architecture }) => architecture.hiddenSize,
  feed_forward_length: ({ architecture, config, experts }) => {
    const sizes = architecture.blocks.map(({ feedForward }) => feedForward.intermediateSize);
    // Where every layer has experts, of a size of their own, what an ordinary layer would have is only in the config.
    return config.moe_intermediate_size !== undefined && experts
      ? Number(config.intermediate_size ?? experts.intermediateSize)
      : perLayer(sizes);
  },
  "attention.head_count": ({ attention, config }) =>
    attention.length > 0
      ? perLayer(attention.map(({ headCount }) => headCount))
      : Number(config.num_attention_heads),
  "attention.head_count_kv": ({ architecture }) =>
    perLayer(
      architecture.blocks.map(({ mixer }) => (mixer.kind === "attention" ? mixer.keyValueHeadCount : 0)),
    ),
  "attention.key_length": ({ attention }) => attention[0]?.headSize,
  "attention.layer_norm_rms_epsilon": epsilonOf,
  "attention.layer_norm_epsilon": epsilonOf,
  "attention.scale": ({ attention }) => attention[0]?.scale,
  "attention.sliding_window": ({ attention }) =>
    attention.find(({ slidingWindow }) => slidingWindow !== undefined)?.slidingWindow,
  // A list holds for any set of layers, whatever a fold has left.
  "attention.sliding_window_pattern": ({ attention }) => {
    const slides = attention.map(({ slidingWindow }) => slidingWindow !== undefined);
    return slides.includes(true) ? slides : undefined;
  },
  attn_logit_softcapping: ({ attention }) => attention[0]?.softcap,
  final_logit_softcapping: ({ architecture }) => architecture.head.softcap,
  embedding_scale: ({ architecture }) => architecture.embedding.scale ?? 1,
  residual_scale: ({ architecture }) => architecture.blocks[0].residualScale ?? 1,
  logit_scale: ({ architecture }) => 1 / (architecture.head.scale ?? 1),
  use_parallel_residual: ({ architecture }) => architecture.blocks[0].residual === "parallel",
  expert_count: ({ experts }) => experts?.expertCount,
  expert_used_count: ({ experts }) => experts?.expertsPerToken,
  expert_feed_forward_length: ({ experts }) => experts?.intermediateSize,
  "rope.freq_base": ({ attention }) => {
    const full = attention.find(({ rotary, slidingWindow }) => rotary && slidingWindow === undefined);
    return baseOf(full ?? attention.find(({ rotary }) => rotary));
  },
  "rope.freq_base_swa": ({ attention }) =>
    baseOf(attention.find(({ slidingWindow }) => slidingWindow !== undefined)),
  "rope.scaling.original_context_length": ({ attention }) => {
    const rotary = attention.find((mixer) => mixer.rotary)?.rotary;
    return rotary?.parameters?.original_max_position_embeddings as number | undefined;
  },
  "ssm.conv_kernel": ({ mamba }) => mamba?.convolutionSize,
  "ssm.inner_size": ({ mamba }) => mamba?.innerSize,
  "ssm.state_size": ({ mamba }) => mamba?.stateSize,
  "ssm.time_step_rank": ({ mamba }) => mamba?.timeStepRank,
};

/** A number where all layers agree, as every reader knows it; else one for each layer. */
function perLayer(list: readonly number[]): number | readonly number[] {
  return list.every((value) => value === list[0]) ? list[0] : list;
}

function epsilonOf({ architecture: { finalNorm, blocks } }: Model): number | undefined {
  return finalNorm?.epsilon ?? normsOf(blocks[0])[0]?.epsilon;
}

function baseOf(mixer: AttentionSpec | undefined): number | undefined {
  return mixer?.rotary?.parameters?.rope_theta as number | undefined;
}

/** The entries of a model's architecture, whole keys; not those of its rotary scaling and its tokenizer. */
export function entriesOfModel(
  description: GgufArchitecture,
  architecture: Architecture,
  config: ModelConfig,
): Map<string, GgufEntry> {
  const mixers = architecture.blocks.map(({ mixer }) => mixer);
  const attention = mixers.filter((mixer) => mixer.kind === "attention");
  const experts = architecture.blocks
    .map(({ feedForward }) => feedForward)
    .find(({ kind }) => kind === "moe");
  const model: Model = {
    architecture,
    config,
    attention,
    mamba: mixers.find((mixer) => mixer.kind === "mamba"),
    experts: experts as MoeSpec | undefined,
  };
  const entries = new Map<string, GgufEntry>();
  const put = (key: string, value: Value, kind: GgufField["kind"] = "count") => {
    if (value !== undefined) entries.set(`${description.name}.${key}`, entryOf(kind, value));
  };
  for (const { key, kind } of Object.values(description.fields))
    put(key, values[key]?.(model) ?? (kind === "window" ? 0 : undefined), kind);
  for (const key of description.derivedFrom ?? []) put(key, values[key]?.(model));
  put("vocab_size", architecture.vocabularySize);
  if (entries.has(`${description.name}.attention.key_length`))
    put("attention.value_length", attention[0].headSize);
  if (description.rotary)
    put("rope.dimension_count", attention.find(({ rotary }) => rotary)?.rotary?.rotaryDimension);
  for (const [key, value] of Object.entries(description.remarks ?? {}))
    entries.set(`${description.name}.${key}`, { type: "string", value });
  return entries;
}

/** Whole numbers are unsigned alone and signed in lists, as llama.cpp's converter writes them. */
function entryOf(kind: GgufField["kind"], value: Exclude<Value, undefined>): GgufEntry {
  const isList = (list: Value): list is readonly number[] | readonly boolean[] => Array.isArray(list);
  const first = isList(value) ? value[0] : value;
  if (typeof first === "boolean") return { type: "bool", value: value as boolean | readonly boolean[] };
  if (kind === "number") return { type: "float32", value: value as number };
  return { type: isList(value) ? "int32" : "uint32", value: value as number | readonly number[] };
}
