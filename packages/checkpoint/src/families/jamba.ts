import type { MambaSpec } from "@layerfold/core";
import { LayerfoldError } from "@layerfold/core";
import { activationOf } from "../activation.js";
import { type BlockTensors, blockTensors, type NormShape } from "../block-tensors.js";
import { type ConfigReader, readConfig } from "../config-reader.js";
import { addAttention, blockSpec, decoder, gatedMlp, headsOf } from "../decoder.js";
import { addExperts, expertCounts } from "../experts.js";
import type { Family, ModelConfig } from "../family.js";

/** One layer in `period` is marked: the one at `offset`. */
interface Rule {
  readonly period: number;
  readonly offset: number;
}

function rulesOf(c: ConfigReader): { attention: Rule; experts: Rule } {
  return {
    attention: { period: c.count("attn_layer_period", 8), offset: c.index("attn_layer_offset", 4) },
    experts: { period: c.count("expert_layer_period", 2), offset: c.index("expert_layer_offset", 1) },
  };
}

function marks({ period, offset }: Rule, layer: number): boolean {
  return layer % period === offset;
}

/** Jamba: Mamba layers with an attention layer (without positions) now and then, and experts in every other layer. */
export const jamba: Family = {
  modelTypes: ["jamba"],
  basePrefix: "model.",
  layerPrefix: "layers.",
  layerCountField: "num_hidden_layers",
  architecture(config, { bare = false } = {}) {
    const c = readConfig(config);
    const base = bare ? "" : "model.";
    const hiddenSize = c.count("hidden_size");
    const norm: NormShape = { kind: "rms", epsilon: c.epsilon("rms_norm_eps", 1e-6) };
    const { attention, experts } = rulesOf(c);
    const blocks = Array.from({ length: c.count("num_hidden_layers") }, (_, layer) => {
      const block = blockTensors(`${base}layers.${layer}.`);
      return blockSpec(block, {
        residual: "sequential",
        mixerNorm: block.norm("norm.attention", "input_layernorm", hiddenSize, norm),
        mixer: marks(attention, layer) ? attentionOf(c, block) : mambaOf(c, block, norm),
        feedForwardNorm: block.norm("norm.mlp", "pre_ff_layernorm", hiddenSize, norm),
        feedForward: feedForwardOf(c, block, marks(experts, layer)),
      });
    });
    return decoder({
      modelType: c.string("model_type"),
      hiddenSize,
      vocabularySize: c.count("vocab_size"),
      maxPositionEmbeddings: c.count("max_position_embeddings", 262_144),
      tokens: `${base}embed_tokens.weight`,
      blocks,
      finalNorm: { module: `${base}final_layernorm`, shape: norm },
      head: "lm_head",
      tied: c.boolean("tie_word_embeddings", false),
    });
  },
  materialize,
};

function attentionOf(c: ConfigReader, block: BlockTensors) {
  const heads = headsOf(c);
  const qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] as const;
  addAttention(block, c.count("hidden_size"), heads, { qkv, output: "self_attn.o_proj" });
  return { kind: "attention", ...heads, scale: heads.headSize ** -0.5, projection: "separate" } as const;
}

function mambaOf(c: ConfigReader, block: BlockTensors, norm: NormShape): MambaSpec {
  const hiddenSize = c.count("hidden_size");
  const innerSize = c.count("mamba_expand", 2) * hiddenSize;
  const stateSize = c.count("mamba_d_state", 16);
  const convolutionSize = c.count("mamba_d_conv", 4);
  const automatic = Math.ceil(hiddenSize / 16);
  const timeStepRank = c.is("mamba_dt_rank", "auto") ? automatic : c.count("mamba_dt_rank", automatic);
  const bias = c.boolean("mamba_proj_bias", false);
  block.linear("mamba.in", "mamba.in_proj", 2 * innerSize, hiddenSize, bias);
  block.add("mamba.conv", "mamba.conv1d.weight", [innerSize, 1, convolutionSize]);
  if (c.boolean("mamba_conv_bias", true)) block.add("mamba.conv.bias", "mamba.conv1d.bias", [innerSize]);
  block.linear("mamba.x", "mamba.x_proj", timeStepRank + 2 * stateSize, innerSize);
  block.linear("mamba.dt", "mamba.dt_proj", innerSize, timeStepRank, true);
  block.add("mamba.a_log", "mamba.A_log", [innerSize, stateSize]);
  block.add("mamba.d", "mamba.D", [innerSize]);
  block.linear("mamba.out", "mamba.out_proj", hiddenSize, innerSize, bias);
  block.norm("mamba.dt_norm", "mamba.dt_layernorm", timeStepRank, norm);
  block.norm("mamba.b_norm", "mamba.b_layernorm", stateSize, norm);
  block.norm("mamba.c_norm", "mamba.c_layernorm", stateSize, norm);
  const activation = activationOf(c, "hidden_act", "silu");
  return {
    kind: "mamba",
    stateSize,
    convolutionSize,
    innerSize,
    timeStepRank,
    activation,
    epsilon: norm.epsilon,
  };
}

function feedForwardOf(c: ConfigReader, block: BlockTensors, marked: boolean) {
  const hiddenSize = c.count("hidden_size");
  const intermediateSize = c.count("intermediate_size");
  const activation = activationOf(c, "hidden_act", "silu");
  if (!marked || c.count("num_experts", 16) === 1) {
    return gatedMlp(block, hiddenSize, { intermediateSize, activation }, "feed_forward");
  }
  return addExperts(
    block,
    hiddenSize,
    {
      ...expertCounts(c, "num_experts", { experts: 16, perToken: 2 }),
      intermediateSize,
      activation,
      normalizeWeights: false,
    },
    {
      router: "feed_forward.router",
      expert: (index) => ({
        gate: `feed_forward.experts.${index}.gate_proj`,
        up: `feed_forward.experts.${index}.up_proj`,
        down: `feed_forward.experts.${index}.down_proj`,
      }),
    },
  );
}

/** The config names layers by period and offset alone: finds a pair for each that says what the kept layers are, or refuses. */
function materialize(config: ModelConfig, kept: readonly number[]): ModelConfig {
  const c = readConfig(config);
  const rules = rulesOf(c);
  const layerCount = c.count("num_hidden_layers");
  const attention = ruleFor(rules.attention, kept);
  const experts = ruleFor(rules.experts, kept);
  if (attention && experts) {
    return {
      ...config,
      attn_layer_period: attention.period,
      attn_layer_offset: attention.offset,
      expert_layer_period: experts.period,
      expert_layer_offset: experts.offset,
    };
  }
  const works = (set: readonly number[]) => ruleFor(rules.attention, set) && ruleFor(rules.experts, set);
  const near = runsRemoved(layerCount, kept.length)
    .filter(works)
    .map((set) => ({ set, shared: set.filter((layer) => kept.includes(layer)).length }))
    .sort((a, b) => b.shared - a.shared)
    .slice(0, 4)
    .map(({ set }) => `[${removedFrom(layerCount, set).join(", ")}]`);
  throw new LayerfoldError(
    "CONFIG_CANNOT_EXPRESS",
    "attention and expert layers follow a period, which this set breaks",
    {
      wanted: `a set such as the one without ${near.join(" or without ")}`,
      got: `without [${removedFrom(layerCount, kept).join(", ")}]`,
      where: "config.json, attn_layer_period and expert_layer_period",
    },
  );
}

/** A rule that marks the kept layers as the old one did: the old period, if it can be, else the shortest. */
function ruleFor(rule: Rule, kept: readonly number[]): Rule | undefined {
  const wanted = kept.map((layer) => marks(rule, layer));
  const periods = [rule.period, ...Array.from({ length: kept.length + 1 }, (_, i) => i + 1)];
  for (const period of periods) {
    for (let offset = 0; offset < period; offset++) {
      if (wanted.every((mark, index) => mark === marks({ period, offset }, index))) return { period, offset };
    }
  }
  return undefined;
}

/** The sets of `count` layers that remain when one run of neighbours goes. */
function runsRemoved(layerCount: number, count: number): number[][] {
  const all = Array.from({ length: layerCount }, (_, layer) => layer);
  const gone = layerCount - count;
  return Array.from({ length: count + 1 }, (_, start) => all.filter((l) => l < start || l >= start + gone));
}

function removedFrom(layerCount: number, kept: readonly number[]): number[] {
  return Array.from({ length: layerCount }, (_, layer) => layer).filter((layer) => !kept.includes(layer));
}
