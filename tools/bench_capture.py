"""Times what `bench-capture.mjs` times with transformers on torch: all residual streams, and log-probabilities of the next tokens.

python3 tools/bench_capture.py MODEL IDS.json THREADS   (IDS: a list of equally long windows of token ids; prints JSON)
"""

import json
import sys
import time

import torch
import transformers

model_path, ids_path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(threads)
model = transformers.AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
windows = torch.tensor(json.load(open(ids_path)))
batch = max(1, 1024 // windows.shape[1])


@torch.no_grad()
def capture(ids):
    out = model.model(ids, output_hidden_states=True)
    logits = model.lm_head(out.last_hidden_state[:, :-1])
    scores = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])
    return sum(float(h[0, 0, 0]) for h in out.hidden_states), float(scores.sum())


def timed():
    start = time.perf_counter()
    total = 0.0
    for first in range(0, len(windows), batch):
        total += capture(windows[first : first + batch])[1]
    return time.perf_counter() - start, total


capture(windows[:1])
seconds, total = min(timed() for _ in range(3))
tokens = windows.numel() - len(windows)
versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
print(json.dumps({"seconds": seconds, "loss": -total / tokens, "versions": versions}))
