import { activationOf } from "../activation.js";
import { blockTensors, type NormShape } from "../block-tensors.js";
import { readConfig } from "../config-reader.js";
import { addAttention, blockSpec, decoder, plainMlp } from "../decoder.js";
import type { Family } from "../family.js";
import { refuseIf } from "../unsupported.js";

/** GPT-2: learned positions, layer norms, q, k, v in one tensor; linear weights lie [in, out]. */
export const gpt2: Family = {
  modelTypes: ["gpt2"],
  basePrefix: "transformer.",
  layerPrefix: "h.",
  layerCountField: "n_layer",
  architecture(config, { bare = false } = {}) {
    const c = readConfig(config);
    refuseIf(c, "add_cross_attention");
    const base = bare ? "" : "transformer.";
    const hiddenSize = c.count("n_embd");
    const headCount = c.count("n_head");
    const headSize = hiddenSize / headCount;
    if (!Number.isInteger(headSize)) throw c.invalid("n_head", `a divisor of n_embd ${hiddenSize}`);
    const heads = { headCount, keyValueHeadCount: headCount, headSize };
    const norm: NormShape = { kind: "layer", epsilon: c.epsilon("layer_norm_epsilon", 1e-5), bias: true };
    const scale = c.boolean("scale_attn_weights", true) ? headSize ** -0.5 : 1;
    const byLayer = c.boolean("scale_attn_by_inverse_layer_idx", false);
    const mlp = {
      intermediateSize: c.count("n_inner", 4 * hiddenSize),
      activation: activationOf(c, "activation_function", "gelu_new"),
    };
    const blocks = Array.from({ length: c.count("n_layer") }, (_, layer) => {
      const block = blockTensors(`${base}h.${layer}.`, "in-out");
      addAttention(
        block,
        hiddenSize,
        heads,
        { qkv: "attn.c_attn", output: "attn.c_proj" },
        { qkv: true, output: true },
      );
      return blockSpec(block, {
        residual: "sequential",
        mixerNorm: block.norm("norm.attention", "ln_1", hiddenSize, norm),
        mixer: {
          kind: "attention",
          ...heads,
          scale: byLayer ? scale / (layer + 1) : scale,
          projection: "fused",
        },
        feedForwardNorm: block.norm("norm.mlp", "ln_2", hiddenSize, norm),
        feedForward: plainMlp(block, hiddenSize, mlp, { up: "mlp.c_fc", down: "mlp.c_proj" }, true),
      });
    });
    const positions = c.count("n_positions");
    return decoder({
      modelType: c.string("model_type"),
      hiddenSize,
      vocabularySize: c.count("vocab_size"),
      maxPositionEmbeddings: positions,
      tokens: `${base}wte.weight`,
      positions: { weight: `${base}wpe.weight`, rows: positions, offset: 0 },
      blocks,
      finalNorm: { module: `${base}ln_f`, shape: norm },
      head: "lm_head",
      tied: c.boolean("tie_word_embeddings", true),
    });
  },
};
