#!/usr/bin/env python3
"""make_golden.py - what transformers says about configs: tensors.json (names and shapes of the saved tensors of tiny variants of every
family) and rope.json (inverse frequencies and attention factors of every rotary type).    pip install torch transformers safetensors"""
import json, os, tempfile
import torch, transformers
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

here = os.path.dirname(os.path.abspath(__file__))
tiny = dict(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2, pad_token_id=0)
falcon = {k: v for k, v in tiny.items() if k != 'intermediate_size'}
gpt2 = dict(vocab_size=40, n_embd=32, n_layer=3, n_head=4, n_positions=64)
opt = {**falcon, 'ffn_dim': 48}
jamba = dict(**tiny, num_key_value_heads=2, num_experts=2, attn_layer_period=2, attn_layer_offset=1, mamba_d_state=4)
variants = [
    ('llama', dict(num_key_value_heads=1, head_dim=16)), ('llama', dict(tie_word_embeddings=True, attention_bias=True)), ('llama', dict(mlp_bias=True)),
    ('mistral', dict(num_key_value_heads=2, head_dim=12, sliding_window=None)), ('mistral', dict(num_key_value_heads=2, tie_word_embeddings=True)),
    ('mixtral', dict(num_key_value_heads=2, num_local_experts=3, head_dim=16)),
    ('qwen2', dict(num_key_value_heads=1, tie_word_embeddings=True)), ('qwen3', dict(num_key_value_heads=2, head_dim=16, attention_bias=True)),
    ('qwen3_moe', dict(num_key_value_heads=2, head_dim=8, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=24, decoder_sparse_step=2, mlp_only_layers=[])),
    ('gemma2', dict(num_key_value_heads=1, head_dim=16, attention_bias=True)), ('gemma3_text', dict(num_key_value_heads=2, head_dim=8, tie_word_embeddings=False)),
    ('phi', dict(num_key_value_heads=4, qk_layernorm=True)), ('phi', dict(num_key_value_heads=2, tie_word_embeddings=True)),
    ('phi3', dict(num_key_value_heads=1)), ('smollm3', dict(num_key_value_heads=2, attention_bias=True, mlp_bias=True)),
    ('gpt2', dict()), ('gpt2', dict(n_inner=40, tie_word_embeddings=False)),
    ('gpt_neox', dict(use_parallel_residual=False)), ('gpt_neox', dict(attention_bias=False, tie_word_embeddings=True)),
    ('opt', dict(do_layer_norm_before=False, word_embed_proj_dim=16)), ('opt', dict(enable_bias=False)), ('opt', dict(layer_norm_elementwise_affine=False)),
    ('opt', dict(_remove_final_layer_norm=True, tie_word_embeddings=False)),
    ('olmo2', dict(num_key_value_heads=2, attention_bias=True)), ('olmo2', dict(tie_word_embeddings=True)),
    ('stablelm', dict(num_key_value_heads=4, use_parallel_residual=True)), ('stablelm', dict(num_key_value_heads=2, use_qkv_bias=True)),
    ('granite', dict(num_key_value_heads=2, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    ('falcon', dict()), ('falcon', dict(bias=True, multi_query=False)), ('falcon', dict(parallel_attn=False, multi_query=False)),
    ('falcon', dict(new_decoder_architecture=True, num_kv_heads=2)), ('falcon', dict(new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1)),
    ('jamba', dict()), ('jamba', dict(mamba_conv_bias=False, mamba_proj_bias=True, mamba_dt_rank=3, tie_word_embeddings=True)), ('jamba', dict(num_experts=1)),
]
base = dict(gpt2=gpt2, opt=opt, falcon=falcon, jamba=jamba)
out = []
for kind, options in variants:
    config = AutoConfig.for_model(kind, **{**base.get(kind, tiny), **options})
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        with safe_open(folder + '/model.safetensors', 'pt') as f:
            tensors = {k: list(f.get_slice(k).get_shape()) for k in sorted(f.keys())}
        saved = json.load(open(folder + '/config.json'))
    out.append(dict(variant=f'{kind} {json.dumps(options)}', config=saved, tensors=tensors))
with open(here + '/tensors.json', 'w') as f:
    f.write('[\n' + ',\n'.join(json.dumps(row, separators=(',', ':')) for row in out) + '\n]\n')

llama = dict(model_type='llama', **tiny, head_dim=32)
llama['max_position_embeddings'] = 512
ropes = [
    dict(rope_parameters=dict(rope_type='default', rope_theta=500000.0)),
    dict(rope_theta=20000.0),
    dict(rope_theta=10000.0, rope_scaling=dict(type='linear', factor=4.0)),
    dict(rope_parameters=dict(rope_type='llama3', rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)),
    dict(rope_theta=500000.0, rope_scaling=dict(rope_type='llama3', factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)),
    dict(rope_parameters=dict(rope_type='dynamic', rope_theta=10000.0, factor=2.0)),
    dict(rope_parameters=dict(rope_type='yarn', rope_theta=10000.0, factor=4.0, original_max_position_embeddings=128)),
    dict(rope_theta=1000000.0, rope_scaling=dict(rope_type='yarn', factor=8.0, original_max_position_embeddings=64, beta_fast=16, beta_slow=2, attention_factor=0.8)),
    dict(rope_parameters=dict(rope_type='yarn', rope_theta=10000.0, factor=4.0, original_max_position_embeddings=128, mscale=0.7, mscale_all_dim=1.0, truncate=False)),
    dict(rope_parameters=dict(rope_type='longrope', rope_theta=10000.0, original_max_position_embeddings=128, short_factor=[1 + i / 64 for i in range(16)],
                              long_factor=[1 + i / 2 for i in range(16)])),
    dict(rope_parameters=dict(rope_type='longrope', rope_theta=10000.0, factor=2.0, original_max_position_embeddings=128, partial_rotary_factor=0.5,
                              short_factor=[1 + i / 64 for i in range(8)], long_factor=[1 + i / 2 for i in range(8)])),
]
rows = []
for rope in ropes:
    config = {**llama, **rope}
    parsed = AutoConfig.for_model(**config)
    kind = parsed.rope_parameters['rope_type']
    lengths = {}
    for length in (64, 512, 1000):
        if kind == 'default':
            from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
            frequencies, factor = LlamaRotaryEmbedding(parsed).inv_freq, 1.0
        else:
            frequencies, factor = ROPE_INIT_FUNCTIONS[kind](parsed, None, seq_len=length)
        lengths[length] = frequencies.tolist()
    rows.append(dict(config=config, attention_factor=factor, inverse_frequencies=lengths))
json.dump(dict(transformers=transformers.__version__, rows=rows), open(here + '/rope.json', 'w'))
