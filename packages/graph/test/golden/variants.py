"""Golden data of packages/graph: tiny random models beyond those in architectures/, and greedy continuations of all of them.

    python variants.py        (transformers 5.18, torch 2.13, CPU, float32)

variants/NAME holds config.json, model.safetensors and expected.safetensors: input_ids and attention_mask [2, S], the streams before the
final norm (resid.0 = embeddings) and the logits. greedy.json holds, for every model, what greedy decoding appends to the first row's
first tokens.
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

here = Path(__file__).parent
base = dict(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=None, eos_token_id=None, pad_token_id=None)
rope = lambda **more: dict(rope_parameters={"rope_theta": 10000.0, "rope_type": "default", **more})
variants = {
    "llama-head-20": dict(model_type="llama", **{**base, "hidden_size": 60, "num_attention_heads": 3, "num_key_value_heads": 1}, head_dim=20),
    "llama-head-80": dict(model_type="llama", **{**base, "num_attention_heads": 2, "num_key_value_heads": 2}, head_dim=80),
    "llama-multi-query-head-6": dict(model_type="llama", **{**base, "num_key_value_heads": 1}, head_dim=6),
    "llama-yarn": dict(model_type="llama", **base, **rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)),
    "llama-dynamic": dict(model_type="llama", **{**base, "max_position_embeddings": 12}, **rope(rope_type="dynamic", factor=2.0)),
    "gemma2-head-24": dict(model_type="gemma2", **base, head_dim=24, sliding_window=5, query_pre_attn_scalar=20,
                           attn_logit_softcapping=5.0, final_logit_softcapping=3.0, hidden_activation="gelu_pytorch_tanh"),
    "gpt-neox-sequential": dict(model_type="gpt_neox", **base, use_parallel_residual=False, rotary_pct=0.375, tie_word_embeddings=True),
    "phi-partial-rotary-head-20": dict(model_type="phi", **{**base, "hidden_size": 80}, partial_rotary_factor=0.3),
    "phi3-long": dict(model_type="phi3", **base, original_max_position_embeddings=8, sliding_window=6,
                      rope_parameters={"rope_theta": 10000.0, "rope_type": "longrope", "short_factor": [1.0 + 0.1 * i for i in range(8)],
                                       "long_factor": [2.0 + 0.5 * i for i in range(8)], "original_max_position_embeddings": 8}),
    "stablelm-parallel": dict(model_type="stablelm", **base, use_parallel_residual=True, partial_rotary_factor=0.25, use_qkv_bias=True),
    "falcon-multi-query": dict(model_type="falcon", vocab_size=160, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, multi_query=True,
                               new_decoder_architecture=False, parallel_attn=True, bias=False, bos_token_id=None, eos_token_id=None),
    "falcon-sequential": dict(model_type="falcon", vocab_size=160, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, multi_query=False,
                              new_decoder_architecture=False, parallel_attn=False, bias=True, bos_token_id=None, eos_token_id=None),
    "gemma3-head-20": dict(model_type="gemma3_text", **base, head_dim=20, sliding_window=4, query_pre_attn_scalar=12,
                           layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "gpt2-inverse-layer-scale": dict(model_type="gpt2", vocab_size=160, n_embd=60, n_layer=3, n_head=5, n_positions=48, n_inner=100,
                                     scale_attn_by_inverse_layer_idx=True, activation_function="relu", bos_token_id=None, eos_token_id=None),
    "jamba-narrow": dict(model_type="jamba", **base, mamba_d_state=6, mamba_d_conv=3, mamba_expand=1, mamba_dt_rank=5, mamba_conv_bias=False,
                         mamba_proj_bias=True, num_experts=3, num_experts_per_tok=2, attn_layer_period=3, attn_layer_offset=1,
                         expert_layer_period=2, expert_layer_offset=0, use_mamba_kernels=False),
    "qwen2-mixed-windows": dict(model_type="qwen2", **base, use_sliding_window=True, sliding_window=3, max_window_layers=1),
    "qwen3-moe-mixed": dict(model_type="qwen3_moe", **base, head_dim=12, moe_intermediate_size=40, num_experts=5, num_experts_per_tok=3,
                            norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[1]),
    "opt-post-norm": dict(model_type="opt", vocab_size=160, hidden_size=64, ffn_dim=96, num_hidden_layers=3, num_attention_heads=4,
                          max_position_embeddings=64, do_layer_norm_before=False, word_embed_proj_dim=32, pad_token_id=1, bos_token_id=None, eos_token_id=None),
}


def capture(model, batch):
    """Embeddings and what each decoder layer returns."""
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == model.config.num_hidden_layers)
    streams = []
    first = layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: streams.append((args[0] if args else kwargs["hidden_states"]).clone()), with_kwargs=True)
    hooks = [first] + [
        layer.register_forward_hook(lambda _, args, out: streams.append((out[0] if isinstance(out, tuple) else out).clone())) for layer in layers]
    logits = model(**batch, use_cache=False).logits
    for hook in hooks:
        hook.remove()
    return {**{f"resid.{i}": s.contiguous() for i, s in enumerate(streams)}, "logits": logits.contiguous()}


def greedy(model, ids, count=24):
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)
    return out[0, ids.shape[1]:].tolist()


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    for index, (name, settings) in enumerate(variants.items()):
        torch.manual_seed(index)
        settings = dict(settings)
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.3) + (1.0 if parameter.dim() == 1 else 0.0))
        folder = here / "variants" / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        ids = torch.randint(2, 160, (2, 20))
        mask = torch.ones_like(ids)
        mask[1, 13:] = 0
        expected = capture(model, dict(input_ids=ids, attention_mask=mask))
        save_file({"input_ids": ids, "attention_mask": mask, **expected}, folder / "expected.safetensors",
                  metadata={"transformers": transformers.__version__, "torch": torch.__version__})
    continuations = {}
    for folder in sorted([*(here / "architectures").iterdir(), *(here / "variants").iterdir()]):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        torch.manual_seed(0)
        ids = torch.randint(2, 160, (1, 7))
        try:
            continuations[f"{folder.parent.name}/{folder.name}"] = {"prompt": ids[0].tolist(), "tokens": greedy(model, ids)}
        except Exception as error:
            print("no continuation:", folder.name, repr(error)[:200])
    (here / "greedy.json").write_text(json.dumps({"transformers": transformers.__version__, "models": continuations}) + "\n")


main()
