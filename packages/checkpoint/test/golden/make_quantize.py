#!/usr/bin/env python3
"""make_quantize.py FOLDLING - quantize.json: rows of weights, and what ggml's own quantisers make of them: Q8_0 to the byte, of the others the
sum of squared errors, plain and weighed by an importance of every column, as ggml_quantize_chunk gives them without and with an importance
matrix. FOLDLING is foldling's model.safetensors; the other rows are drawn.    pip install llama-cpp-python gguf numpy (made with 0.3.36)"""
import base64, ctypes, glob, json, os, struct, sys
import numpy as np
import gguf, llama_cpp

ggml = ctypes.CDLL(glob.glob(os.path.dirname(llama_cpp.__file__) + '/lib/libggml-base*')[0])
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
text = lambda a: base64.b64encode(a.tobytes()).decode()


def quantized(kind, rows, importance):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros(rows.size // block * size, np.uint8)
    ggml.ggml_quantize_chunk(int(kind), rows.ctypes.data, out.ctypes.data, 0, rows.shape[0], rows.shape[1], importance.ctypes.data if importance is not None else None)
    return out


rng = np.random.default_rng(37)
with open(sys.argv[1], 'rb') as f:
    length = struct.unpack('<Q', f.read(8))[0]
    begin, end = json.loads(f.read(length))['model.layers.3.mlp.down_proj.weight']['data_offsets']
    f.seek(8 + length + begin)
    trained = (np.frombuffer(f.read(2 * 2 * 512), np.uint16).astype(np.uint32) << 16).view(np.float32)  # bfloat16
rows = {
    'normal': rng.normal(size=(4, 512)).astype(np.float32),
    'heavy tails': (0.02 * rng.standard_t(3, size=(4, 512))).astype(np.float32),
    'shifted': (rng.normal(size=(2, 512)) + 2).astype(np.float32),
    'foldling': np.ascontiguousarray(trained.reshape(2, 512)),
}
cases = []
for name, values in rows.items():
    importance = (np.abs(rng.standard_t(3, size=512)) + 0.05).astype(np.float32) ** 2
    errors = {}
    for kind in ['Q4_0', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K', 'Q6_K']:
        k = gguf.GGMLQuantizationType[kind]
        miss = lambda weights: (gguf.dequantize(quantized(k, values, weights), k).reshape(values.shape).astype(np.float64) - values) ** 2
        errors[kind] = [float(miss(None).sum()), float((miss(importance) * importance).sum())]
    exact = quantized(gguf.GGMLQuantizationType.Q8_0, values, None)
    cases.append(dict(name=name, columns=512, values=text(values), importance=text(importance), q8_0=text(exact), errors=errors))
with open(os.path.dirname(os.path.abspath(__file__)) + '/quantize.json', 'w') as f:
    json.dump(cases, f, indent=1)
