/** A config of two small layers. */
export const tinyLlama = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  dtype: "bfloat16",
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 50,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: "silu",
  tie_word_embeddings: true,
};
