"""Reads jobs [{name, folder, input, trace, depth?}] from standard input: loads each folder with transformers in float32, and holds its keys and
logits (with a depth the stream behind so many blocks, of most tokens) against what layerfold wrote and traced. Exits with 1 when anything differs."""
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
        output = model.eval()(**given, use_cache=False, output_hidden_states=True)
    real = given["attention_mask"].bool()
    depth = job.get("depth")
    what, theirs = ("logits", output.logits) if depth is None else (f"stream {depth}", output.hidden_states[depth])
    ours = load_file(job["trace"])["logits" if depth is None else f"resid.{depth}"]
    of_token = (theirs - ours)[real].abs().amax(-1)
    difference = of_token.max().item() if depth is None else of_token.median().item()
    allowed = TOLERANCE * max(1.0, theirs[real].abs().max().item())
    wrong = [f"{k}: {sorted(v)[:3]}" for k, v in info.items() if k in ("missing_keys", "unexpected_keys", "mismatched_keys") and v]
    if difference > allowed:
        wrong.append(f"{what} differs by {difference:.2e}")
    failures += bool(wrong)
    print(f"{'FAIL' if wrong else 'ok':4}  {job['name']:28} max |Δ {what}| {difference:.1e}  {'; '.join(wrong)}", flush=True)
print(f"{failures} of the checkpoints failed" if failures else "every checkpoint loads with equal values and no missing or unexpected key")
sys.exit(1 if failures else 0)
