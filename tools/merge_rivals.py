"""Merges a checkpoint with mergekit, or decodes its tensors with safetensors and torch; prints JSON: seconds, peak memory, versions.

python3 tools/merge_rivals.py passthrough|linear MODEL OUT GROUPS   (GROUPS: JSON, [[layer, …], …]; a linear merge weighs pairs 3 : 1)
python3 tools/merge_rivals.py decode MODEL
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import torch
from safetensors import safe_open

task, model = sys.argv[1:3]


def source(layer, folder=model, **parameters):
    return {"model": folder, "layer_range": [layer, layer + 1], "parameters": parameters}


def merge(out, groups):
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    if task == "passthrough":
        method = {"merge_method": "passthrough", "dtype": "bfloat16"}
        slices = [{"sources": [source(group[0])]} for group in groups]
    else:
        # In float32, as we do.
        method = {"merge_method": "linear", "dtype": "float32", "out_dtype": "bfloat16"}
        # Of one model mergekit merges no two layers; of one model by two names it does.
        again = f"{out}-again"
        os.symlink(model, again)
        slices = [{"sources": [source(a, weight=0.75), source(b, again, weight=0.25)]} for a, b in groups]
    config = MergeConfiguration.model_validate({**method, "slices": slices})
    start = time.perf_counter()
    run_merge(config, out, MergeOptions(quiet=True, lazy_unpickle=True, write_model_card=False, copy_tokenizer=False))
    for file in Path(out).iterdir():
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
    seconds = time.perf_counter() - start
    if task == "linear":
        os.unlink(again)
    return seconds


def decode():
    start = time.perf_counter()
    for file in sorted(Path(model).glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():
                opened.get_tensor(name).to(torch.float32)
    return time.perf_counter() - start


before = time.process_time()
seconds = decode() if task == "decode" else merge(sys.argv[3], json.loads(sys.argv[4]))
cpu = time.process_time() - before
versions = f"Python {sys.version.split()[0]}, torch {torch.__version__}"
if task != "decode":
    from importlib.metadata import version

    versions += f", mergekit {version('mergekit')}"
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "versions": versions}))
