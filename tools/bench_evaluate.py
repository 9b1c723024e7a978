"""Times what `bench-evaluate.mjs` times with lm-evaluation-harness: its model hf, float32, on the CPU.

python3 tools/bench_evaluate.py MODEL DATA THREADS BATCH TASK:LIMIT...   (prints a line of JSON for each task: seconds, processor seconds, requests)
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import lm_eval
import torch
import transformers
from compare_with_lm_eval import KNOWN, TASKS, local_task
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

path, data, threads, batch, *cases = sys.argv[1:]
torch.set_num_threads(int(threads))
model = HFLM(pretrained=path, device="cpu", dtype="float32", batch_size=int(batch))
spent = {}


def timed(name):
    """Counts what the model's method takes, without making requests and without bootstraps."""
    method = getattr(model, name)

    def call(requests, *args, **kwargs):
        wall, processor = time.perf_counter(), time.process_time()
        answers = method(requests, *args, **kwargs)
        spent["seconds"] = time.perf_counter() - wall
        spent["processor"] = time.process_time() - processor
        spent["requests"] = len(requests)
        return answers

    setattr(model, name, call)


for name in ["loglikelihood", "loglikelihood_rolling"]:
    timed(name)
for case in cases:
    task, limit = case.split(":")
    subject = task[len("mmlu_") :] if task.startswith("mmlu_") else None
    file, place = (f"mmlu/default/{task}.yaml", f"mmlu/{subject}") if subject else KNOWN[task]
    with tempfile.TemporaryDirectory() as folder:
        local_task(folder, task, TASKS / file, Path(data).resolve() / place)
        lm_eval.simple_evaluate(
            model=model,
            tasks=[f"local_{task}"],
            task_manager=TaskManager(include_path=folder),
            limit=int(limit),
            num_fewshot=5 if subject else None,
            bootstrap_iters=0,
        )
    versions = {"lm_eval": lm_eval.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"task": task, **spent, **versions}), flush=True)
