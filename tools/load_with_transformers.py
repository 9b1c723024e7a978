"""Reads jobs [{name, folder, input, trace}] from standard input: loads each folder with transformers in float32, and holds its keys and logits
against what layerfold wrote and traced. Exits with 1 when anything differs."""
import json
import sys

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
TOLERANCE = 1e-3  # of the largest logit, at least 1: float32 in another order of summation

failures = 0
for job in json.load(sys.stdin):
    model, info = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32, output_loading_info=True)
    given = load_file(job["input"])
    with torch.no_grad():
        logits = model.eval()(**given, use_cache=False).logits
    real = given["attention_mask"].bool()
    ours = load_file(job["trace"])["logits"]
    difference = (logits - ours)[real].abs().max().item()
    allowed = TOLERANCE * max(1.0, logits[real].abs().max().item())
    wrong = [f"{k}: {sorted(v)[:3]}" for k, v in info.items() if k in ("missing_keys", "unexpected_keys", "mismatched_keys") and v]
    if difference > allowed:
        wrong.append(f"logits differ by {difference:.2e}")
    failures += bool(wrong)
    print(f"{'FAIL' if wrong else 'ok':4}  {job['name']:28} max |Δ logits| {difference:.1e}  {'; '.join(wrong)}", flush=True)
print(f"{failures} of the checkpoints failed" if failures else "every checkpoint loads with equal logits and no missing or unexpected key")
sys.exit(1 if failures else 0)
