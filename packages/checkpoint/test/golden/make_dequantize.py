#!/usr/bin/env python3
"""make_dequantize.py - random blocks of every ggml type, and the float32 that the reference decoder makes of them.    pip install gguf numpy"""
import base64, json, os
import numpy as np
from gguf import GGMLQuantizationType as T, dequantize
from gguf.constants import GGML_QUANT_SIZES

rng = np.random.default_rng(7)
halves = dict(Q8_0=[0], Q4_0=[0], Q4_1=[0, 2], Q5_0=[0], Q5_1=[0, 2], Q4_K=[0, 2], Q5_K=[0, 2], Q6_K=[208], Q2_K=[80, 82], Q3_K=[108], IQ4_NL=[0], IQ4_XS=[0], MXFP4=[])
rows = []
for name in ['F32', 'F16', 'BF16', *halves]:
    kind = T[name]
    size, length = GGML_QUANT_SIZES[kind]
    blocks = 64 if size == 1 else 3
    data = rng.integers(0, 256, (blocks, length), dtype=np.uint8)
    if size == 1:
        values = rng.normal(size=(blocks, 1)).astype(np.float32)
        data = (values.view(np.uint8) if name == 'F32' else values.astype(np.float16).view(np.uint8) if name == 'F16'
                else np.ascontiguousarray(values.view(np.uint16)[:, 1:]).view(np.uint8))
    for at in halves.get(name, []):
        data[:, at:at + 2] = rng.normal(size=(blocks, 1)).astype(np.float16).view(np.uint8)
    if name == 'MXFP4': data[:, 0] = [0, 1, 254]  # the ends of its scale, subnormal numbers among them
    out = dequantize(np.ascontiguousarray(data.reshape(1, -1)), kind).astype('<f4')
    rows.append(dict(type=name, bytes=base64.b64encode(data.tobytes()).decode(), float32=base64.b64encode(out.tobytes()).decode()))
here = os.path.dirname(os.path.abspath(__file__))
with open(here + '/dequantize.json', 'w') as f:
    f.write('[\n' + ',\n'.join(map(json.dumps, rows)) + '\n]\n')
