"""Makes gptq-loss.json: the output loss that GPTQModel 7.7.0's GPTQ leaves on one made linear map (torch 2.15.0, CPU).

Run with the source archive on PYTHONPATH: python gptq-loss.py gptq-loss.json
Weights and inputs come from a linear congruential generator, so that the test can make the same.
"""

import json
import sys

import torch
from gptqmodel.quantization.config import QuantizeConfig
from gptqmodel.quantization.gptq import GPTQ

ROWS, COLUMNS, TOKENS, SOURCES = 48, 256, 600, 32


def generator(seed):
    """Uniform numbers in [-0.5, 0.5)."""
    state = seed
    while True:
        state = (1664525 * state + 1013904223) % 2**32
        yield state / 2**32 - 0.5


def uniform(numbers, *shape):
    count = 1
    for n in shape:
        count *= n
    return torch.tensor([next(numbers) for _ in range(count)], dtype=torch.float64).reshape(shape)


numbers = generator(1)
weight = uniform(numbers, ROWS, COLUMNS).float()
mixing = uniform(numbers, SOURCES, COLUMNS)
# Correlated channels, every 17th of them large, with a little noise of their own.
inputs = uniform(numbers, TOKENS, SOURCES) @ mixing + 0.1 * uniform(numbers, TOKENS, COLUMNS)
inputs[:, ::17] *= 8
inputs = inputs.float()
gram = inputs.double().T @ inputs.double()


def loss(changed):
    delta = changed.double() - weight.double()
    return ((delta @ gram) * delta).sum().item() / TOKENS


cases = []
for bits, group, symmetric, order, static in (
    (4, 128, True, False, False),
    (3, 128, True, False, False),
    (2, 64, False, False, False),
    (4, -1, False, False, False),
    (8, 128, True, False, False),
    (4, 128, True, True, False),
    (3, 64, True, True, True),
):
    linear = torch.nn.Linear(COLUMNS, ROWS, bias=False)
    linear.weight.data = weight.clone()
    config = QuantizeConfig(
        bits=bits, group_size=group, sym=symmetric, desc_act=order, static_groups=static, act_group_aware=False,
        damp_percent=0.01, damp_auto_increment=0.01, mse=0.0,
    )
    task = GPTQ(linear, qcfg=config)
    task.quantizer.configure(perchannel=True)
    task.fallback = None
    task.add_batch(inputs.unsqueeze(0), linear(inputs).unsqueeze(0))
    result = task.quantize()
    cases.append(
        {"bits": bits, "groupSize": group, "symmetric": symmetric, "activationOrder": order, "staticGroups": static,
         "loss": loss(result[0].detach().reshape(ROWS, COLUMNS))})
    print(cases[-1], flush=True)
json.dump({"rows": ROWS, "columns": COLUMNS, "tokens": TOKENS, "sources": SOURCES, "cases": cases},
          open(sys.argv[1], "w"), indent=1)
