"""GPTQ (arXiv 2210.17323) in plain torch, as its authors' code orders the work: layer by layer, true-sequential, blocks of 128 columns,
hooks that sum the Hessians over all calibration sequences. A yardstick for tools/bench-gptq.mjs: time and peak memory on one machine.

python gptq_reference.py MODEL TEXT SEQUENCES LENGTH BITS GROUP [LAYERS]      (torch, transformers)
"""

import json
import resource
import sys
import time

import torch
import transformers

folder, text, sequences, length, bits, group = sys.argv[1:3] + [int(value) for value in sys.argv[3:7]]
layers_wanted = int(sys.argv[7]) if len(sys.argv) > 7 else None
torch.set_grad_enabled(False)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
stream = tokenizer(open(text).read(), add_special_tokens=False, return_tensors="pt").input_ids[0]
windows = len(stream) // length
chosen = [i * windows // sequences for i in range(sequences)]
batch = torch.stack([stream[i * length : (i + 1) * length] for i in chosen])

start, processor = time.perf_counter(), time.process_time()


class Hessian:
    def __init__(self, linear):
        self.linear, self.tokens = linear, 0
        self.sum = torch.zeros(linear.in_features, linear.in_features)

    def add(self, _module, inputs, _output):
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        self.sum *= self.tokens / (self.tokens + x.shape[0])
        self.tokens += x.shape[0]
        x = x * (2 / self.tokens) ** 0.5
        self.sum += x.t() @ x

    def quantize(self):
        weight = self.linear.weight.data.clone()
        rows, columns = weight.shape
        hessian = self.sum
        dead = torch.diag(hessian) == 0
        hessian[dead, dead] = 1
        weight[:, dead] = 0
        diagonal = torch.arange(columns)
        hessian[diagonal, diagonal] += 0.01 * torch.mean(torch.diag(hessian))
        upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
        result = torch.zeros_like(weight)
        top = 2**bits - 1
        middle = 2 ** (bits - 1)
        for first in range(0, columns, 128):
            last = min(first + 128, columns)
            part = weight[:, first:last].clone()
            errors = torch.zeros_like(part)
            inverse = upper[first:last, first:last]
            for i in range(last - first):
                if (first + i) % group == 0:
                    values = weight[:, first + i : first + i + group]
                    scale = (2 * values.abs().amax(1) / top).clamp(min=1e-10)
                w, d = part[:, i], inverse[i, i]
                q = scale * (torch.clamp(torch.round(w / scale) + middle, 0, top) - middle)
                result[:, first + i] = q
                error = (w - q) / d
                part[:, i:] -= error.unsqueeze(1) @ inverse[i, i:].unsqueeze(0)
                errors[:, i] = error
            weight[:, last:] -= errors @ upper[first:last, last:]
        self.linear.weight.data = result


class Catcher(torch.nn.Module):
    """Stands for the first layer, keeps what it is given, and stops the model there."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.states, self.arguments = layer, [], None
        self.attention_type = getattr(layer, "attention_type", None)

    def forward(self, states, **arguments):
        self.states.append(states)
        self.arguments = arguments
        raise StopIteration


layers = model.model.layers
layers[0] = Catcher(layers[0])
for row in batch:
    try:
        model(row.unsqueeze(0), use_cache=False)
    except StopIteration:
        pass
states, arguments = layers[0].states, layers[0].arguments
layers[0] = layers[0].layer


def run(layer, states):
    output = layer(states, **arguments)
    return output[0] if isinstance(output, tuple) else output


for index, layer in enumerate(layers):
    if index == layers_wanted:
        break
    attention, mlp = layer.self_attn, layer.mlp
    stages = [
        [attention.q_proj, attention.k_proj, attention.v_proj],
        [attention.o_proj],
        [mlp.gate_proj, mlp.up_proj],
        [mlp.down_proj],
    ]
    for stage in stages:
        hessians = [Hessian(linear) for linear in stage]
        hooks = [h.linear.register_forward_hook(h.add) for h in hessians]
        for one in states:
            run(layer, one)
        for hook in hooks:
            hook.remove()
        for hessian in hessians:
            hessian.quantize()
    states = [run(layer, one) for one in states]

print(
    json.dumps(
        {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "seconds": time.perf_counter() - start,
            "processor_seconds": time.process_time() - processor,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
