import { activationOf } from "../activation.js";
import { blockTensors, type NormShape } from "../block-tensors.js";
import { readConfig } from "../config-reader.js";
import { addAttention, blockSpec, decoder, headsOf, plainMlp } from "../decoder.js";
import type { Family } from "../family.js";
import { rotaryOf } from "../rope.js";

/** Phi 1 to 2: attention and MLP in parallel behind one layer norm, biases everywhere, half of each head rotated. */
export const phi: Family = {
  modelTypes: ["phi"],
  basePrefix: "model.",
  layerPrefix: "layers.",
  layerCountField: "num_hidden_layers",
  architecture(config, { bare = false } = {}) {
    const c = readConfig(config);
    const base = bare ? "" : "model.";
    const hiddenSize = c.count("hidden_size");
    const heads = headsOf(c);
    const { headSize } = heads;
    const norm: NormShape = { kind: "layer", epsilon: c.epsilon("layer_norm_eps", 1e-5), bias: true };
    const rotary = rotaryOf(config, { headSize, partialFactor: 0.5 });
    const mlp = {
      intermediateSize: c.count("intermediate_size"),
      activation: activationOf(c, "hidden_act", "gelu_new"),
    };
    const blocks = Array.from({ length: c.count("num_hidden_layers") }, (_, layer) => {
      const block = blockTensors(`${base}layers.${layer}.`);
      const modules = {
        qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] as const,
        output: "self_attn.dense",
      };
      addAttention(block, hiddenSize, heads, modules, { qkv: true, output: true });
      return blockSpec(block, {
        residual: "parallel",
        mixerNorm: block.norm("norm.attention", "input_layernorm", hiddenSize, norm),
        mixer: {
          kind: "attention",
          ...heads,
          scale: headSize ** -0.5,
          rotary,
          projection: "separate",
          ...(c.boolean("qk_layernorm", false) && {
            queryKeyNorm: {
              over: "head",
              query: block.norm("attention.query_norm", "self_attn.q_layernorm", headSize, norm),
              key: block.norm("attention.key_norm", "self_attn.k_layernorm", headSize, norm),
            },
          }),
        },
        feedForward: plainMlp(block, hiddenSize, mlp, { up: "mlp.fc1", down: "mlp.fc2" }, true),
      });
    });
    return decoder({
      modelType: c.string("model_type"),
      hiddenSize,
      vocabularySize: c.count("vocab_size"),
      maxPositionEmbeddings: c.count("max_position_embeddings"),
      tokens: `${base}embed_tokens.weight`,
      blocks,
      finalNorm: { module: `${base}final_layernorm`, shape: norm },
      head: "lm_head",
      headBias: true,
      tied: c.boolean("tie_word_embeddings", false),
    });
  },
};
