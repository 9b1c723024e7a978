#!/usr/bin/env python3
"""make_gguf.py TEXT - two tiny random GGUF files as llama.cpp's converter lays them out, and gguf.json: SHA-256 of every float32 tensor in
transformers' names and order, and what the reference tokenizers make of some text. TEXT (foldling's data/calibration.jsonl) trains the
tokenizers.    pip install gguf numpy tokenizers sentencepiece"""
import hashlib, io, json, os, sys
import numpy as np
import sentencepiece as spm
import tokenizers
from gguf import GGMLQuantizationType as T, GGUFWriter, dequantize, quantize

here = os.path.dirname(os.path.abspath(__file__))
text = [json.loads(line)['text'] for line in open(sys.argv[1])]
samples = ['Mara went to the mill. Where is Mara?', 'had 12 ½ pears\n\n  and x² …', ' leading, trailing ', 'naïve 日本 🙂', "Pell's hat: don't!"]
control, user, byte, unknown, normal = 3, 4, 6, 2, 1


def permute(w, heads):  # as convert_hf_to_gguf.py does it
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def write(name, architecture, vocabulary, tied, biases, head_norms, base, scaled, linear, tokenizer):
    rng = np.random.default_rng(len(name))
    hidden, inner, heads, kv, size, layers = 64, 96, 4, 2, 16, 2
    shapes = {'model.embed_tokens.weight': ('token_embd.weight', (vocabulary, hidden)), 'model.norm.weight': ('output_norm.weight', (hidden,))}
    if not tied: shapes['lm_head.weight'] = ('output.weight', (vocabulary, hidden))
    for l in range(layers):
        p, q = f'model.layers.{l}.', f'blk.{l}.'
        for module, part, rows, columns in [('self_attn.q_proj', 'attn_q', heads * size, hidden), ('self_attn.k_proj', 'attn_k', kv * size, hidden),
                                            ('self_attn.v_proj', 'attn_v', kv * size, hidden), ('self_attn.o_proj', 'attn_output', hidden, heads * size),
                                            ('mlp.gate_proj', 'ffn_gate', inner, hidden), ('mlp.up_proj', 'ffn_up', inner, hidden), ('mlp.down_proj', 'ffn_down', hidden, inner)]:
            shapes[p + module + '.weight'] = (q + part + '.weight', (rows, columns))
            if part in biases: shapes[p + module + '.bias'] = (q + part + '.bias', (rows,))
        shapes[p + 'input_layernorm.weight'] = (q + 'attn_norm.weight', (hidden,))
        shapes[p + 'post_attention_layernorm.weight'] = (q + 'ffn_norm.weight', (hidden,))
        if head_norms:
            for x in 'qk': shapes[p + f'self_attn.{x}_norm.weight'] = (q + f'attn_{x}_norm.weight', (size,))
    writer = GGUFWriter(f'{here}/{name}.gguf', architecture)
    writer.add_block_count(layers); writer.add_context_length(128); writer.add_embedding_length(hidden); writer.add_feed_forward_length(inner)
    writer.add_head_count(heads); writer.add_head_count_kv(kv); writer.add_layer_norm_rms_eps(1e-5); writer.add_rope_freq_base(base)
    writer.add_key_length(size); writer.add_vocab_size(vocabulary)
    tokenizer(writer)
    if scaled:  # Llama 3.1: factor 8, bounds 1 and 4, 8,192 positions
        wave = 2 * np.pi * base ** (np.arange(0, size, 2) / size)
        smooth = (8192 / wave - 1) / 3
        writer.add_tensor('rope_freqs.weight', np.where(wave < 2048, 1, np.where(wave > 8192, 8, 1 / ((1 - smooth) / 8 + smooth))).astype(np.float32))
    hashes = {}
    for key, (stored, shape) in shapes.items():
        w = rng.normal(size=shape).astype(np.float32)
        turn = architecture == 'llama' and (heads if '.q_proj' in key else kv if '.k_proj' in key else 0)
        kind = T.F32 if len(shape) == 1 else T.Q8_0 if 'embed' in key else linear
        # Quantised along a row, and whole rows are permuted: so the order of the two does not matter.
        packed = quantize(w, kind)
        hashes[key] = hashlib.sha256(dequantize(packed, kind).astype('<f4').tobytes()).hexdigest()
        packed = quantize(permute(w, turn), kind) if turn else packed
        writer.add_tensor(stored, packed, raw_dtype=kind)
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
    return dict(file=f'{name}.gguf', tensors=hashes)


bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([tokenizers.pre_tokenizers.Digits(individual_digits=True), level])
bpe.train_from_iterator(text, tokenizers.trainers.BpeTrainer(vocab_size=320, special_tokens=['<|begin|>', '<|end|>'], initial_alphabet=level.alphabet()))
model = json.loads(bpe.to_str())['model']
tokens = sorted(model['vocab'], key=model['vocab'].get)


def byte_level(writer):
    writer.add_tokenizer_model('gpt2'); writer.add_tokenizer_pre('smollm'); writer.add_token_list(tokens)
    writer.add_token_types([control if t.startswith('<|') else normal for t in tokens]); writer.add_token_merges([' '.join(m) for m in model['merges']])
    writer.add_bos_token_id(0); writer.add_eos_token_id(1); writer.add_chat_template('{{ messages }}')


proto = io.BytesIO()
spm.SentencePieceTrainer.train(sentence_iterator=iter(text), model_writer=proto, vocab_size=420, model_type='bpe', byte_fallback=True, character_coverage=1.0,
                               normalization_rule_name='identity', remove_extra_whitespaces=False, split_digits=True, minloglevel=2)
pieces = spm.SentencePieceProcessor(model_proto=proto.getvalue())
n = pieces.get_piece_size()


def sentence_piece(writer):
    kind = lambda i: unknown if pieces.is_unknown(i) else control if pieces.is_control(i) else byte if pieces.is_byte(i) else normal
    writer.add_tokenizer_model('llama'); writer.add_token_list([pieces.id_to_piece(i) for i in range(n)]); writer.add_token_scores([pieces.get_score(i) for i in range(n)])
    writer.add_token_types([kind(i) for i in range(n)]); writer.add_bos_token_id(1); writer.add_eos_token_id(2); writer.add_unk_token_id(0)


rows = [
    dict(write('llama', 'llama', len(tokens), True, [], False, 500000.0, True, T.Q4_1, byte_level), samples=[[s, bpe.encode(s).ids] for s in samples]),
    dict(write('qwen3', 'qwen3', n, False, ['attn_q', 'attn_k', 'attn_v', 'attn_output'], True, 10000.0, False, T.F16, sentence_piece),
         samples=[[s, [1, *pieces.encode(s)]] for s in samples]),
]
with open(here + '/gguf.json', 'w') as f:
    json.dump(rows, f, indent=1)
