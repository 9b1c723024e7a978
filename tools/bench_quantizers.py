"""Quantises a checkpoint with llm-compressor on the CPU from given token ids; prints JSON. The rival of tools/bench-quantizers.mjs.

python3 bench_quantizers.py MODEL IDS.json METHOD GROUP OUT      METHOD one of gptq, awq (int4 weights in groups), smoothquant (W8A8)
(llmcompressor, torch, transformers)
"""

import json
import resource
import sys
import time

import compressed_tensors
import datasets
import llmcompressor
import torch
import transformers
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from llmcompressor import oneshot
from llmcompressor.modifiers.awq import AWQModifier
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from llmcompressor.modifiers.smoothquant import SmoothQuantModifier

if not torch.accelerator.is_available():
    # llm-compressor 0.14 pins what it offloads even where there is nothing to copy it to, and torch then refuses.
    torch.Tensor.pin_memory = lambda self, *_: self

folder, ids, method, group, out = sys.argv[1:6]
rows = json.load(open(ids))
weights = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=int(group), actorder=None)
in_groups = {"ignore": ["lm_head"], "config_groups": {"group_0": QuantizationScheme(targets=["Linear"], weights=weights)}}
recipe = {
    # As ours: columns in their own order, 1 % damping.
    "gptq": lambda: [GPTQModifier(**in_groups, actorder=None, dampening_frac=0.01)],
    "awq": lambda: [AWQModifier(**in_groups)],
    "smoothquant": lambda: [
        SmoothQuantModifier(smoothing_strength=0.5),
        QuantizationModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"]),
    ],
}[method]()

start, processor = time.perf_counter(), time.process_time()
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
data = datasets.Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]})
begun = time.perf_counter()
oneshot(
    model=model,
    tokenizer=tokenizer,
    dataset=data,
    recipe=recipe,
    max_seq_length=max(map(len, rows)),
    num_calibration_samples=len(rows),
    shuffle_calibration_samples=False,
)
ended = time.perf_counter()
model.save_pretrained(out, save_compressed=True)
tokenizer.save_pretrained(out)
print(
    json.dumps(
        {
            "versions": {
                "Python": sys.version.split()[0],
                "llm-compressor": llmcompressor.__version__,
                "compressed-tensors": compressed_tensors.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "dtype": str(model.dtype),
            "threads": torch.get_num_threads(),
            "seconds": time.perf_counter() - start,
            "oneshot_seconds": ended - begun,
            "processor_seconds": time.process_time() - processor,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
