import type { AttentionSpec, BlockSpec, MoeSpec } from "@layerfold/core";
import { activationOf } from "./activation.js";
import { type BlockTensors, blockTensors, type NormShape } from "./block-tensors.js";
import { type ConfigReader, readConfig } from "./config-reader.js";
import { addAttention, blockSpec, type DecoderFrame, decoder, gatedMlp, headsOf } from "./decoder.js";
import type { Family, ModelConfig } from "./family.js";
import { type RotaryDefaults, rotaryOf } from "./rope.js";

/** What differs from layer to layer. */
export interface LlamaLayer {
  /** Attend to so many positions only. */
  readonly slidingWindow?: number | undefined;
  /** `false`: no rotary embedding in this layer. Otherwise what the family says beside the config. */
  readonly rotary?: false | Partial<RotaryDefaults>;
}

/** How a family differs from Llama. Whatever is absent is as in Llama. */
export interface LlamaVariation {
  readonly modelTypes: readonly string[];
  /** Whether the head is the embedding where the config does not say; default false. */
  readonly tied?: boolean;
  /** Where the config has no `head_dim`; default hidden_size / num_attention_heads. */
  readonly headSize?: number;
  /** Field and default of the activation; default `hidden_act`, silu. */
  readonly activation?: readonly [field: string, fallback: string];
  /** Default: RMS norm with `rms_norm_eps`. */
  readonly norm?: (c: ConfigReader) => NormShape;
  /** Where the block's norms stand: before attention and MLP (default), after both, or on either side. */
  readonly norms?: "before" | "after" | "both";
  /** Default: none. */
  readonly biases?: (c: ConfigReader) => {
    readonly qkv?: boolean;
    readonly output?: boolean;
    readonly mlp?: boolean;
  };
  /** q, k, v in one tensor, and gate and up in one; default false. */
  readonly fused?: boolean;
  /** Norm on q and k, over each head or the whole projection; default none. */
  readonly queryKeyNorm?: "head" | "projection";
  readonly attention?: (c: ConfigReader) => Partial<Pick<AttentionSpec, "scale" | "softcap">>;
  readonly layer?: (c: ConfigReader, layer: number) => LlamaLayer;
  /** An expert layer's tensors and spec; undefined where the layer has an ordinary MLP. */
  readonly experts?: (c: ConfigReader, layer: number, block: BlockTensors) => MoeSpec | undefined;
  /** Attention and MLP read the same norm's output; default false. */
  readonly parallel?: (c: ConfigReader) => boolean;
  readonly residualScale?: (c: ConfigReader) => number;
  readonly embeddingScale?: (c: ConfigReader) => number;
  readonly head?: (c: ConfigReader) => Pick<DecoderFrame, "headSoftcap" | "headScale">;
  readonly materialize?: Family["materialize"];
}

/** A family that is Llama but for what `variation` says. */
export function llamaLike(variation: LlamaVariation): Family {
  return {
    modelTypes: variation.modelTypes,
    basePrefix: "model.",
    layerPrefix: "layers.",
    layerCountField: "num_hidden_layers",
    ...(variation.materialize && { materialize: variation.materialize }),
    architecture(config, { bare = false } = {}) {
      const c = readConfig(config);
      const base = bare ? "" : "model.";
      return decoder({
        modelType: c.string("model_type"),
        hiddenSize: c.count("hidden_size"),
        vocabularySize: c.count("vocab_size"),
        maxPositionEmbeddings: c.count("max_position_embeddings"),
        tokens: `${base}embed_tokens.weight`,
        embeddingScale: variation.embeddingScale?.(c),
        blocks: Array.from({ length: c.count("num_hidden_layers") }, (_, layer) =>
          blockOf(config, c, variation, layer, `${base}layers.${layer}.`),
        ),
        finalNorm: { module: `${base}norm`, shape: normShape(c, variation) },
        head: "lm_head",
        tied: c.boolean("tie_word_embeddings", variation.tied ?? false),
        ...variation.head?.(c),
      });
    },
  };
}

function normShape(c: ConfigReader, variation: LlamaVariation): NormShape {
  return variation.norm?.(c) ?? { kind: "rms", epsilon: c.epsilon("rms_norm_eps", 1e-6) };
}

function blockOf(
  config: ModelConfig,
  c: ConfigReader,
  variation: LlamaVariation,
  layer: number,
  prefix: string,
): BlockSpec {
  const block = blockTensors(prefix);
  const hiddenSize = c.count("hidden_size");
  const { fused = false, biases, activation = ["hidden_act", "silu"] } = variation;
  const parallel = variation.parallel?.(c) ?? false;
  const norms = normsOf(c, variation, block, parallel);
  const mixer = attentionOf(config, c, variation, layer, block);
  const mlp = () =>
    gatedMlp(
      block,
      hiddenSize,
      { intermediateSize: c.count("intermediate_size"), activation: activationOf(c, ...activation) },
      "mlp",
      { bias: biases?.(c).mlp, fused },
    );
  return blockSpec(block, {
    residual: parallel ? "parallel" : "sequential",
    ...(variation.residualScale && { residualScale: variation.residualScale(c) }),
    mixer,
    feedForward: variation.experts?.(c, layer, block) ?? mlp(),
    ...norms,
  });
}

function normsOf(c: ConfigReader, variation: LlamaVariation, block: BlockTensors, parallel: boolean) {
  const shape = normShape(c, variation);
  const norm = (role: string, module: string) => block.norm(role, module, c.count("hidden_size"), shape);
  switch (variation.norms ?? "before") {
    case "before":
      return {
        mixerNorm: norm("norm.attention", "input_layernorm"),
        ...(!parallel && { feedForwardNorm: norm("norm.mlp", "post_attention_layernorm") }),
      };
    case "after":
      return {
        mixerPostNorm: norm("norm.attention.post", "post_attention_layernorm"),
        feedForwardPostNorm: norm("norm.mlp.post", "post_feedforward_layernorm"),
      };
    case "both":
      return {
        mixerNorm: norm("norm.attention", "input_layernorm"),
        mixerPostNorm: norm("norm.attention.post", "post_attention_layernorm"),
        feedForwardNorm: norm("norm.mlp", "pre_feedforward_layernorm"),
        feedForwardPostNorm: norm("norm.mlp.post", "post_feedforward_layernorm"),
      };
  }
}

function attentionOf(
  config: ModelConfig,
  c: ConfigReader,
  variation: LlamaVariation,
  layer: number,
  block: BlockTensors,
): AttentionSpec {
  const heads = headsOf(c, variation.headSize);
  const { headCount, keyValueHeadCount, headSize } = heads;
  const { fused = false, queryKeyNorm: over } = variation;
  const qkv = fused
    ? "self_attn.qkv_proj"
    : (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] as const);
  addAttention(
    block,
    c.count("hidden_size"),
    heads,
    { qkv, output: "self_attn.o_proj" },
    variation.biases?.(c),
  );
  const queryKeyNorm = (role: string, module: string, count: number) =>
    block.norm(role, module, over === "head" ? headSize : count * headSize, normShape(c, variation));
  const { slidingWindow, rotary = {} } = variation.layer?.(c, layer) ?? {};
  return {
    kind: "attention",
    ...heads,
    scale: headSize ** -0.5,
    ...variation.attention?.(c),
    ...(slidingWindow !== undefined && { slidingWindow }),
    ...(rotary && { rotary: rotaryOf(config, { headSize, ...rotary }) }),
    projection: fused ? "fused" : "separate",
    ...(over && {
      queryKeyNorm: {
        over,
        query: queryKeyNorm("attention.query_norm", "self_attn.q_norm", headCount),
        key: queryKeyNorm("attention.key_norm", "self_attn.k_norm", keyValueHeadCount),
      },
    }),
  };
}
