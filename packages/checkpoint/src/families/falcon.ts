import type { BlockSpec, NormSpec } from "@layerfold/core";
import { activationOf } from "../activation.js";
import { blockTensors, type NormShape } from "../block-tensors.js";
import { type ConfigReader, readConfig } from "../config-reader.js";
import { addAttention, blockSpec, decoder, plainMlp } from "../decoder.js";
import type { Family } from "../family.js";
import { rotaryOf } from "../rope.js";
import { refuseIf } from "../unsupported.js";

/**
 * Falcon, both decoder architectures: q, k, v fused by key/value head; attention and MLP in parallel behind one or two layer norms, or
 * one after the other.
 */
export const falcon: Family = {
  modelTypes: ["falcon"],
  basePrefix: "transformer.",
  layerPrefix: "h.",
  layerCountField: "num_hidden_layers",
  architecture(config, { bare = false } = {}) {
    const c = readConfig(config);
    refuseIf(c, "alibi");
    const base = bare ? "" : "transformer.";
    const hiddenSize = c.count("hidden_size");
    const heads = headsOfFalcon(c, hiddenSize);
    const { headSize } = heads;
    const norm: NormShape = { kind: "layer", epsilon: c.epsilon("layer_norm_epsilon", 1e-5), bias: true };
    const bias = c.boolean("bias", false);
    const rotary = rotaryOf(config, { headSize });
    const mlp = {
      intermediateSize: c.count("ffn_hidden_size", 4 * hiddenSize),
      activation: activationOf(c, "activation", "gelu"),
    };
    const blocks = Array.from({ length: c.count("num_hidden_layers") }, (_, layer) => {
      const block = blockTensors(`${base}h.${layer}.`);
      const modules = { qkv: "self_attention.query_key_value", output: "self_attention.dense" };
      addAttention(block, hiddenSize, heads, modules, { qkv: bias, output: bias });
      return blockSpec(block, {
        mixer: { kind: "attention", ...heads, scale: headSize ** -0.5, rotary, projection: "fused-per-head" },
        feedForward: plainMlp(
          block,
          hiddenSize,
          mlp,
          { up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h" },
          bias,
        ),
        ...residualOf(c, (role, module) => block.norm(role, module, hiddenSize, norm)),
      });
    });
    return decoder({
      modelType: c.string("model_type"),
      hiddenSize,
      vocabularySize: c.count("vocab_size"),
      maxPositionEmbeddings: c.count("max_position_embeddings", 2048),
      tokens: `${base}word_embeddings.weight`,
      blocks,
      finalNorm: { module: `${base}ln_f`, shape: norm },
      head: "lm_head",
      tied: c.boolean("tie_word_embeddings", true),
    });
  },
};

/** The old architecture has one key/value head (`multi_query`) or as many as heads; only the new one reads `num_kv_heads`. */
function headsOfFalcon(c: ConfigReader, hiddenSize: number) {
  const headCount = c.count("num_attention_heads");
  const headSize = hiddenSize / headCount;
  if (!Number.isInteger(headSize)) throw c.invalid("num_attention_heads", `a divisor of ${hiddenSize}`);
  const isNew = c.boolean("new_decoder_architecture", false);
  const old = c.boolean("multi_query", true) ? 1 : headCount;
  const keyValueHeadCount = isNew ? c.count("num_kv_heads", headCount) : old;
  if (headCount % keyValueHeadCount !== 0) throw c.invalid("num_kv_heads", `a divisor of ${headCount}`);
  return { headCount, keyValueHeadCount, headSize };
}

function residualOf(
  c: ConfigReader,
  norm: (role: string, module: string) => NormSpec,
): Pick<BlockSpec, "residual" | "mixerNorm" | "feedForwardNorm"> {
  const isNew = c.boolean("new_decoder_architecture", false);
  if (!isNew && !c.boolean("parallel_attn", true)) {
    return {
      residual: "sequential",
      mixerNorm: norm("norm.attention", "input_layernorm"),
      feedForwardNorm: norm("norm.mlp", "post_attention_layernorm"),
    };
  }
  if (isNew && c.number("num_ln_in_parallel_attn", 2) === 2) {
    return {
      residual: "parallel",
      mixerNorm: norm("norm.attention", "ln_attn"),
      feedForwardNorm: norm("norm.mlp", "ln_mlp"),
    };
  }
  return { residual: "parallel", mixerNorm: norm("norm.attention", "input_layernorm") };
}
