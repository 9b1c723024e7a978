"""Golden data of packages/graph: logits of models in variants/ with layers dropped, each kept layer computing what it did in its old place.

    python dropped.py         (transformers 5.x, torch, CPU, float32; the file's metadata name the versions)

variants/NAME/expected_drop.safetensors holds the logits for the input_ids and attention_mask of expected.safetensors; its metadata name
the dropped layers. A layer keeps its own `layer_idx`, and so the attention scale that GPT-2 may take from it.
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

here = Path(__file__).parent / "variants"
torch.set_num_threads(1)
for name, dropped in {"gpt2-inverse-layer-scale": [1]}.items():
    model = AutoModelForCausalLM.from_pretrained(here / name, dtype=torch.float32, attn_implementation="eager").eval()
    kept = [layer for index, layer in enumerate(model.transformer.h) if index not in dropped]
    model.transformer.h = torch.nn.ModuleList(kept)
    model.config.n_layer = len(kept)
    batch = load_file(here / name / "expected.safetensors")
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    save_file({"logits": logits.contiguous()}, here / name / "expected_drop.safetensors",
              metadata={"dropped": json.dumps(dropped), "transformers": transformers.__version__, "torch": torch.__version__})
