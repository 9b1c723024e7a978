"""Loads a compressed-tensors folder that layerfold wrote in transformers: keys, perplexity, and, beside a dense float32 copy
(`dequantizeCheckpoint`), the largest difference of the logits. Weight-only schemes must agree; w8a8 and fp8 round activations too.

python load-in-transformers.py VALIDATION.jsonl FOLDER [DENSE_COPY]      (torch, transformers, compressed-tensors)
"""

import json
import math
import sys

import compressed_tensors
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

validation, folder = sys.argv[1], sys.argv[2]
tokenizer = AutoTokenizer.from_pretrained(folder)
model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
documents = [json.loads(line)["text"] for line in open(validation)]


def score(model):
    """exp of the mean negative log-likelihood; the begin token is given, the end token predicted."""
    total, count = 0.0, 0
    for text in documents:
        ids = torch.tensor([[*tokenizer(text).input_ids, tokenizer.eos_token_id]])
        with torch.no_grad():
            logits = model(ids).logits.float().log_softmax(-1)
        total -= logits[0, :-1].gather(1, ids[0, 1:, None]).sum().item()
        count += ids.shape[1] - 1
    return math.exp(total / count), count


perplexity, tokens = score(model)
result = {
    "transformers": transformers.__version__, "compressed-tensors": compressed_tensors.__version__, "torch": torch.__version__,
    "missing_keys": len(info["missing_keys"]), "unexpected_keys": len(info["unexpected_keys"]),
    "perplexity": round(perplexity, 5), "tokens": tokens,
}
if len(sys.argv) > 3:
    dense = AutoModelForCausalLM.from_pretrained(sys.argv[3], dtype=torch.float32)
    ids = torch.tensor([tokenizer(documents[0]).input_ids])
    with torch.no_grad():
        difference = (model(ids).logits - dense(ids).logits).abs().max().item()
    result["max_logit_difference_to_dense_copy"] = difference
print(json.dumps(result))
