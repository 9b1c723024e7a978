import { activationOf } from "../activation.js";
import { blockTensors, type NormShape } from "../block-tensors.js";
import { readConfig } from "../config-reader.js";
import { addAttention, blockSpec, decoder, plainMlp } from "../decoder.js";
import type { Family } from "../family.js";

/** OPT: learned positions from row 2 on, layer norms before attention and MLP, or (350m) after each residual sum. */
export const opt: Family = {
  modelTypes: ["opt"],
  basePrefix: "model.",
  layerPrefix: "decoder.layers.",
  layerCountField: "num_hidden_layers",
  architecture(config, { bare = false } = {}) {
    const c = readConfig(config);
    const base = bare ? "decoder." : "model.decoder.";
    const hiddenSize = c.count("hidden_size");
    const headCount = c.count("num_attention_heads");
    const headSize = hiddenSize / headCount;
    if (!Number.isInteger(headSize)) throw c.invalid("num_attention_heads", `a divisor of ${hiddenSize}`);
    const heads = { headCount, keyValueHeadCount: headCount, headSize };
    const affine = c.boolean("layer_norm_elementwise_affine", true);
    const norm: NormShape = { kind: "layer", epsilon: 1e-5, affine, bias: affine };
    const bias = c.boolean("enable_bias", true);
    const before = c.boolean("do_layer_norm_before", true);
    const mlp = {
      intermediateSize: c.count("ffn_dim"),
      activation: activationOf(c, "activation_function", "relu"),
    };
    const blocks = Array.from({ length: c.count("num_hidden_layers") }, (_, layer) => {
      const block = blockTensors(`${base}layers.${layer}.`);
      const qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] as const;
      addAttention(
        block,
        hiddenSize,
        heads,
        { qkv, output: "self_attn.out_proj" },
        { qkv: bias, output: bias },
      );
      const mixerNorm = block.norm("norm.attention", "self_attn_layer_norm", hiddenSize, norm);
      const feedForwardNorm = block.norm("norm.mlp", "final_layer_norm", hiddenSize, norm);
      return blockSpec(block, {
        residual: "sequential",
        mixer: { kind: "attention", ...heads, scale: headSize ** -0.5, projection: "separate" },
        feedForward: plainMlp(block, hiddenSize, mlp, { up: "fc1", down: "fc2" }, bias),
        ...(before
          ? { mixerNorm, feedForwardNorm }
          : { mixerSumNorm: mixerNorm, feedForwardSumNorm: feedForwardNorm }),
      });
    });
    const positions = c.count("max_position_embeddings");
    const size = c.count("word_embed_proj_dim", hiddenSize);
    return decoder({
      modelType: c.string("model_type"),
      hiddenSize,
      vocabularySize: c.count("vocab_size"),
      maxPositionEmbeddings: positions,
      tokens: `${base}embed_tokens.weight`,
      ...(size !== hiddenSize && {
        embedding: { size, into: `${base}project_in.weight`, outOf: `${base}project_out.weight` },
      }),
      positions: { weight: `${base}embed_positions.weight`, rows: positions + 2, offset: 2 },
      blocks,
      ...(before &&
        !c.boolean("_remove_final_layer_norm", false) && {
          finalNorm: { module: `${base}final_layer_norm`, shape: norm },
        }),
      head: "lm_head",
      tied: c.boolean("tie_word_embeddings", true),
    });
  },
};
