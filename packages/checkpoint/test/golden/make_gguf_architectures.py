#!/usr/bin/env python3
"""make_gguf_architectures.py LLAMA_CPP TEXT - gguf/*.gguf: a tiny random model of every architecture that llama.cpp and we both know, made by
transformers and turned into GGUF by llama.cpp's own convert_hf_to_gguf.py (LLAMA_CPP: its source folder; the one used is that of
llama-cpp-python 0.3.36's source package); and gguf/models.json: SHA-256 of every float32 tensor of the original, the ids that the original
tokenizer gives, and transformers' logits at the last of 12 tokens. TEXT (foldling's data/calibration.jsonl) trains the tokenizers.
Weights are rounded to the file's type first, norms and biases to multiples of 1/256, so that nothing is lost on the way. The converter
recognises pre-tokenizers by a hash of what published tokenizers make of a text; ours are not among them, so it is told the name.
pip install torch transformers safetensors sentencepiece gguf"""
import base64, hashlib, io, json, logging, os, shutil, sys, tempfile
import numpy as np
import sentencepiece as spm
import tokenizers, torch, transformers
from safetensors.torch import load_file, save_file
from tokenizers import Regex, pre_tokenizers as cut
from transformers import AutoConfig, AutoModelForCausalLM

here = os.path.dirname(os.path.abspath(__file__)) + '/gguf'
sys.path[:0] = [sys.argv[1], sys.argv[1] + '/gguf-py']
import convert_hf_to_gguf as converter
from conversion.base import ModelBase, TextModel
logging.disable(logging.WARNING)
# AutoTokenizer would choose a class by the model type, with special tokens of its own.
transformers.AutoTokenizer.from_pretrained = lambda folder, **_: transformers.PreTrainedTokenizerFast.from_pretrained(folder)
# The converter asks for fields of older configs (n_ctx, rotary_pct), which transformers 5 drops as it reads them.
load = ModelBase.load_hparams
ModelBase.load_hparams = staticmethod(lambda folder, is_mistral_format: {**json.load(open(str(folder) + '/config.json')), **load(folder, is_mistral_format)})
text = [json.loads(line)['text'] for line in open(sys.argv[2])][:400]
samples = ['Mara went to the mill. Where is Mara?', 'had 12 ½ pears, 12345 of them\n\n  and x² …', ' leading,  two   spaces ', 'naïve 日本 🙂\t\tsheep',
           "Pell's hat: don't! WE'LL see", 'a <table>\n\n  b', '"Why?" (asked Pell) -- a\r\n b']


# Tokenizers -----------------------------------------------------------------------------------------------------------------------------
def byte_level(pre, begin=False):
    gpt2 = cut.ByteLevel(add_prefix_space=False)
    bare = cut.ByteLevel(add_prefix_space=False, use_regex=False)
    words = lambda numbers: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + numbers + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = lambda pattern: cut.Sequence([cut.Split(Regex(pattern), 'isolated'), bare])
    cuts = {
        'gpt-2': gpt2, 'phi-2': gpt2, 'olmo': gpt2,
        'refact': cut.Sequence([cut.Digits(individual_digits=True), gpt2]),
        'qwen2': split(words(r'\p{N}')), 'stablelm2': split(words(r'\p{N}')),
        'llama-bpe': split(words(r'\p{N}{1,3}')), 'dbrx': split(words(r'\p{N}{1,3}')), 'smaug-bpe': split(words(r'\p{N}{1,3}')),
        'falcon': cut.Sequence([cut.Punctuation('contiguous'), gpt2, cut.Digits(individual_digits=False), cut.Split(Regex('[0-9][0-9][0-9]'), 'isolated')]),
    }
    def write(folder):
        bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
        if pre in ('qwen2', 'olmo'): bpe.normalizer = tokenizers.normalizers.NFC()
        bpe.pre_tokenizer = cuts[pre]
        bpe.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(vocab_size=320, special_tokens=['<|begin|>', '<|end|>'], initial_alphabet=cut.ByteLevel.alphabet(), show_progress=False)
        bpe.train_from_iterator(text, trainer)
        if begin:
            bpe.post_processor = tokenizers.processors.TemplateProcessing(single='<|begin|> $A', pair='<|begin|> $A <|begin|> $B:1', special_tokens=[('<|begin|>', 0)])
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token='<|begin|>', eos_token='<|end|>')
        fast.save_pretrained(folder)
        saved = json.load(open(folder + '/tokenizer_config.json'))
        json.dump({**saved, 'tokenizer_class': 'GPT2Tokenizer'}, open(folder + '/tokenizer_config.json', 'w'))  # the converter asks Phi-3 for it
        TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
        return bpe.get_vocab_size(), lambda s: bpe.encode(s).ids, 0, 1
    return write


def sentence_piece(gemma=False, added=()):
    def write(folder):
        proto = io.BytesIO()
        order = dict(pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece='<pad>', bos_piece='<bos>', eos_piece='<eos>', user_defined_symbols=['\n\n', '▁▁', '▁▁▁', '<table>']) if gemma else {}
        spm.SentencePieceTrainer.train(sentence_iterator=iter(text), model_writer=proto, vocab_size=420, model_type='bpe', byte_fallback=True, character_coverage=1.0, split_digits=True,
                                       normalization_rule_name='identity', remove_extra_whitespaces=False, add_dummy_prefix=not gemma, minloglevel=2, **order)
        open(folder + '/tokenizer.model', 'wb').write(proto.getvalue())
        pieces = spm.SentencePieceProcessor(model_proto=proto.getvalue())
        size, begin = pieces.get_piece_size(), pieces.bos_id()
        if added: json.dump({token: size + i for i, token in enumerate(added)}, open(folder + '/added_tokens.json', 'w'))
        # As Gemma's own tokenizer_config.json lists them; by this the converter knows them as user-defined.
        listed = {i: dict(content=pieces.id_to_piece(i), special=False) for i in range(4, 4 + len(order.get('user_defined_symbols', [])))}
        json.dump(dict(add_bos_token=True, added_tokens_decoder=listed, tokenizer_class='GemmaTokenizer' if gemma else 'LlamaTokenizer', bos_token=pieces.id_to_piece(begin), eos_token=pieces.id_to_piece(pieces.eos_id())),
                  open(folder + '/tokenizer_config.json', 'w'))
        return size + len(added), lambda s: [begin, *pieces.encode(s)], begin, pieces.eos_id()
    return write


# Models ---------------------------------------------------------------------------------------------------------------------------------
tiny = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
four = dict(tiny, intermediate_size=128)  # llama.cpp takes 4 × hidden for granted
rope = lambda **parameters: dict(rope_parameters=dict(rope_type='default', rope_theta=10000.0) | parameters)
gemma = dict(tiny, head_dim=16, query_pre_attn_scalar=16, sliding_window=5)
models = {
    'llama': ('llama', dict(tiny, **rope(rope_theta=50000.0)), sentence_piece(), 'f16'),
    'llama-3': ('llama', dict(tiny, head_dim=16, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, **rope(
        rope_type='llama3', rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)), byte_level('llama-bpe', True), 'bf16'),
    'qwen2-fused': ('qwen2', dict(tiny), byte_level('qwen2'), 'f16', '--fuse-qkv'),
    'llama-fused': ('llama', dict(tiny), byte_level('smaug-bpe'), 'f16', '--fuse-qkv'),
    'mistral': ('mistral', dict(tiny, head_dim=12, sliding_window=None), sentence_piece(), 'f16'),
    'mixtral': ('mixtral', dict(tiny, num_local_experts=3, num_experts_per_tok=2), sentence_piece(), 'f16'),
    'qwen2': ('qwen2', dict(tiny, tie_word_embeddings=True, **rope(rope_type='yarn', factor=4.0, original_max_position_embeddings=16)), byte_level('qwen2'), 'f16'),
    'qwen3': ('qwen3', dict(tiny, head_dim=16), byte_level('qwen2'), 'f16'),
    'qwen3_moe': ('qwen3_moe', dict(tiny, head_dim=16, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=24, norm_topk_prob=True), byte_level('qwen2'), 'f16'),
    'gemma2': ('gemma2', gemma, sentence_piece(True), 'f16'),
    'gemma3': ('gemma3_text', dict(gemma, num_hidden_layers=6, rope_parameters=dict(
        sliding_attention=dict(rope_type='default', rope_theta=10000.0), full_attention=dict(rope_type='linear', rope_theta=1000000.0, factor=8.0))), sentence_piece(True), 'f16'),
    'phi2': ('phi', dict(four, num_key_value_heads=4, hidden_act='gelu_new', partial_rotary_factor=0.5), byte_level('phi-2'), 'f16'),
    'phi3': ('phi3', dict(tiny, pad_token_id=0, original_max_position_embeddings=64), sentence_piece(added=['<|user|>', '<|end|>']), 'f16'),
    'phi3-long': ('phi3', dict(tiny, pad_token_id=0, sliding_window=7, partial_rotary_factor=0.5, original_max_position_embeddings=8, **rope(
        rope_type='longrope', short_factor=[1.0, 1.5], long_factor=[1.25, 3.5], original_max_position_embeddings=8, partial_rotary_factor=0.5)), byte_level('dbrx'), 'f16'),
    'gpt2': ('gpt2', dict(n_embd=32, n_layer=3, n_head=4, n_positions=64, n_ctx=64), byte_level('gpt-2'), 'f16'),
    'gptneox': ('gpt_neox', dict(tiny, rotary_pct=0.25), byte_level('olmo'), 'f16'),
    'gptneox-sequential': ('gpt_neox', dict(tiny, rotary_pct=0.5, use_parallel_residual=False), byte_level('olmo'), 'f16'),
    'granite': ('granite', dict(tiny, attention_multiplier=0.25, embedding_multiplier=2.0, residual_multiplier=0.5, logits_scaling=4.0), byte_level('refact'), 'f16'),
    'olmo2': ('olmo2', dict(tiny), byte_level('dbrx'), 'f16'),
    'stablelm': ('stablelm', dict(tiny, use_qkv_bias=True, partial_rotary_factor=0.25), byte_level('stablelm2'), 'f16'),
    'stablelm-parallel': ('stablelm', dict(tiny, use_parallel_residual=True, partial_rotary_factor=0.25), byte_level('stablelm2'), 'f16'),
    'falcon-one-norm': ('falcon', dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, multi_query=True, num_kv_heads=1), byte_level('falcon'), 'f16'),
    'falcon-two-norms': ('falcon', dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, new_decoder_architecture=True, num_kv_heads=2), byte_level('falcon'), 'f32'),
    'smollm3': ('smollm3', dict(tiny, num_hidden_layers=5, no_rope_layer_interval=4, no_rope_layers=None, pad_token_id=0), byte_level('smaug-bpe'), 'f16'),
    'jamba': ('jamba', dict(tiny, num_hidden_layers=5, num_experts=3, num_experts_per_tok=2, attn_layer_period=4, attn_layer_offset=2, expert_layer_period=2, expert_layer_offset=1,
                            mamba_d_state=4, mamba_expand=2, mamba_dt_rank=3, use_mamba_kernels=False), sentence_piece(), 'f16'),
}
rows = []
for name, (kind, options, tokenizer, ftype, *flags) in models.items():
    if len(sys.argv) > 3 and name not in sys.argv[3:]: continue
    torch.manual_seed(len(name) + 7)
    with tempfile.TemporaryDirectory() as parent:
        folder = parent + '/' + name  # the converter writes its name into the file
        os.mkdir(folder)
        size, encode, begin, end = tokenizer(folder)
        config = AutoConfig.for_model(kind, **{**options, 'vocab_size': size, 'bos_token_id': begin, 'eos_token_id': end})
        config.dtype = torch.float32
        model = AutoModelForCausalLM.from_config(config, attn_implementation='eager').eval()
        for key, p in model.named_parameters():
            if 'A_log' in key: continue
            noise = torch.randn_like(p)
            if p.ndim == 1: p.data = torch.round((p.data.abs().clamp(max=1) + 0.2 * noise) * 256) / 256 + 0.0  # no −0, which + 1 − 1 loses
            else: p.data = (noise * (1 if 'emb' in key or 'wte' in key else p.shape[-1] ** -0.5)).to(torch.bfloat16 if ftype == 'bf16' else torch.half).float()
        model.save_pretrained(folder)
        saved = json.load(open(folder + '/config.json'))
        json.dump({**saved, **{k: v for k, v in options.items() if k in ('n_ctx', 'rotary_pct')}}, open(folder + '/config.json', 'w'))
        tensors = load_file(folder + '/model.safetensors')
        arguments, sys.argv = sys.argv, ['convert', folder, '--outtype', ftype, '--outfile', f'{here}/{name}.gguf', *flags]
        converter.main()
        sys.argv = arguments
        ids = encode(samples[0])[:12]
        assert len(ids) == 12
        with torch.no_grad(): logits = model(torch.tensor([ids])).logits[0, -1].float().numpy()
        rows.append(dict(file=name + '.gguf', modelType=kind, tensors={k: hashlib.sha256(v.numpy().tobytes()).hexdigest() for k, v in sorted(tensors.items())},
                         samples=[[s, encode(s)] for s in samples], input=ids, logits=base64.b64encode(logits.astype('<f4').tobytes()).decode()))
        print(name, os.path.getsize(f'{here}/{name}.gguf'), float(np.abs(logits).max()), flush=True)
if len(sys.argv) == 3:
    with open(here + '/models.json', 'w') as f:
        f.write('[\n' + ',\n'.join(json.dumps(row, ensure_ascii=False) for row in rows) + '\n]\n')
