import { activationOf } from "../activation.js";
import { blockTensors, type NormShape } from "../block-tensors.js";
import { readConfig } from "../config-reader.js";
import { addAttention, blockSpec, decoder, plainMlp } from "../decoder.js";
import type { Family } from "../family.js";
import { rotaryOf } from "../rope.js";

/** GPT-NeoX and Pythia: q, k, v fused head by head, a quarter of each head rotated, attention and MLP in parallel unless told otherwise. */
export const gptNeox: Family = {
  modelTypes: ["gpt_neox"],
  basePrefix: "gpt_neox.",
  layerPrefix: "layers.",
  layerCountField: "num_hidden_layers",
  architecture(config, { bare = false } = {}) {
    const c = readConfig(config);
    const base = bare ? "" : "gpt_neox.";
    const hiddenSize = c.count("hidden_size");
    // No grouped queries here, whatever else stands in the config.
    const headCount = c.count("num_attention_heads");
    const headSize = hiddenSize / headCount;
    if (!Number.isInteger(headSize)) throw c.invalid("num_attention_heads", `a divisor of ${hiddenSize}`);
    const heads = { headCount, keyValueHeadCount: headCount, headSize };
    const norm: NormShape = { kind: "layer", epsilon: c.epsilon("layer_norm_eps", 1e-5), bias: true };
    const bias = c.boolean("attention_bias", true);
    const rotary = rotaryOf(config, {
      headSize,
      theta: c.positive("rotary_emb_base", 10_000),
      partialFactor: c.positive("rotary_pct", 0.25),
    });
    const mlp = {
      intermediateSize: c.count("intermediate_size"),
      activation: activationOf(c, "hidden_act", "gelu"),
    };
    const blocks = Array.from({ length: c.count("num_hidden_layers") }, (_, layer) => {
      const block = blockTensors(`${base}layers.${layer}.`);
      addAttention(
        block,
        hiddenSize,
        heads,
        { qkv: "attention.query_key_value", output: "attention.dense" },
        { qkv: bias, output: bias },
      );
      const modules = { up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h" };
      return blockSpec(block, {
        residual: c.boolean("use_parallel_residual", true) ? "parallel" : "sequential",
        mixerNorm: block.norm("norm.attention", "input_layernorm", hiddenSize, norm),
        mixer: { kind: "attention", ...heads, scale: headSize ** -0.5, rotary, projection: "fused-per-head" },
        feedForwardNorm: block.norm("norm.mlp", "post_attention_layernorm", hiddenSize, norm),
        feedForward: plainMlp(block, hiddenSize, mlp, modules, true),
      });
    });
    return decoder({
      modelType: c.string("model_type"),
      hiddenSize,
      vocabularySize: c.count("vocab_size"),
      maxPositionEmbeddings: c.count("max_position_embeddings"),
      tokens: `${base}embed_in.weight`,
      blocks,
      finalNorm: { module: `${base}final_layer_norm`, shape: norm },
      head: "embed_out",
      tied: c.boolean("tie_word_embeddings", false),
    });
  },
};
