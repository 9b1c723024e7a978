"""Makes quantized-modules.safetensors: small linear maps packed, and dequantised, by the reference implementations.

Tools: torch 2.15.0, compressed-tensors 0.20.0, GPTQModel 7.7.0 and AutoAWQ 0.2.9 (the last two from their source
archives on PYTHONPATH; nothing compiled). Run: python quantized-modules.py quantized-modules.safetensors

Every case CASE has CASE.<suffix> as the reference stores it, and CASE.dense, float32, as the reference dequantises it.
"""

import sys
import types

import torch
from safetensors.torch import save_file


def stub_package(name, root):
    """Lets submodules be imported without running the package's __init__ (which wants CUDA)."""
    package = types.ModuleType(name)
    package.__path__ = [f"{root}/{name.replace('.', '/')}"]
    sys.modules[name] = package


def grid(weight, group, bits, symmetric):
    """Scales and zero points [out, groups] of the formats' own convention, scales rounded to half precision."""
    x = weight.reshape(weight.shape[0], -1, group)
    low, high = x.amin(-1).clamp(max=0), x.amax(-1).clamp(min=0)
    top = 2**bits - 1
    if symmetric:
        scale = 2 * torch.maximum(-low, high) / top
        return scale.half().float(), torch.full_like(scale, 2 ** (bits - 1))
    scale = ((high - low) / top).half().float()
    return scale, torch.clamp(torch.round(-low / scale), 1, top)


def rounded(weight, scale, zero, index, bits):
    s, z = scale[:, index], zero[:, index]
    return s * (torch.clamp(torch.round(weight / s) + z, 0, 2**bits - 1) - z)


def gptq_cases(out, weight):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    rows, columns = weight.shape
    for bits in (2, 3, 4, 8):
        for symmetric, ordered in ((True, False), (False, False), (False, True)):
            group = 32
            scale, zero = grid(weight, group, bits, symmetric)
            index = torch.arange(columns) // group
            if ordered:
                index = index[torch.randperm(columns)]
            linear = torch.nn.Linear(columns, rows, bias=False)
            linear.weight.data = rounded(weight, scale, zero, index, bits)
            module = TorchLinear(
                bits=bits, group_size=group, sym=symmetric, desc_act=ordered, in_features=columns,
                out_features=rows, bias=False, pack_dtype=torch.int32, register_buffers=True,
            )
            module.pack_original(linear, scale.clone(), zero.clone(), index.to(torch.int32))
            case = f"gptq_v2-{bits}-{'sym' if symmetric else 'asym'}{'-order' if ordered else ''}"
            for suffix in ("qweight", "qzeros", "scales", "g_idx"):
                out[f"{case}.{suffix}"] = getattr(module, suffix).detach().clone().contiguous()
            module.post_init()
            module.scales = module.scales.float()
            out[f"{case}.dense"] = module.dequantize_weight().float().t().contiguous()


def awq_case(out, weight):
    stub_package("awq", sys.path_awq)
    stub_package("awq.modules", sys.path_awq)
    stub_package("awq.modules.linear", sys.path_awq)
    stub_package("awq.utils", sys.path_awq)
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    rows, columns = weight.shape
    scale, zero = grid(weight, 32, 4, False)
    linear = torch.nn.Linear(columns, rows, bias=False)
    linear.weight.data = rounded(weight, scale, zero, torch.arange(columns) // 32, 4)
    module = WQLinear_GEMM.from_linear(linear, 4, 32, False, scale.t().contiguous(), zero.t().contiguous())
    for suffix in ("qweight", "qzeros", "scales"):
        out[f"awq-4-asym.{suffix}"] = getattr(module, suffix).detach().clone().contiguous()
    dense = dequantize_gemm(module.qweight, module.qzeros, module.scales.float(), 4, 32)
    out["awq-4-asym.dense"] = dense.float().t().contiguous()


def compressed_tensors_cases(out, weight):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    cases = {
        "pack-quantized-4-sym": ("pack-quantized", dict(num_bits=4, group_size=32, strategy="group")),
        "pack-quantized-4-asym": ("pack-quantized", dict(num_bits=4, group_size=32, strategy="group", symmetric=False)),
        "pack-quantized-3-asym": ("pack-quantized", dict(num_bits=3, group_size=32, strategy="group", symmetric=False)),
        "pack-quantized-8-sym": ("pack-quantized", dict(num_bits=8, strategy="channel")),
        "int-quantized-8-sym": ("int-quantized", dict(num_bits=8, strategy="channel")),
        "int-quantized-8-asym": ("int-quantized", dict(num_bits=8, strategy="channel", symmetric=False)),
        "float-quantized-8-channel": ("float-quantized", dict(num_bits=8, type="float", strategy="channel")),
        "float-quantized-8-tensor": ("float-quantized", dict(num_bits=8, type="float", strategy="tensor")),
        "float-quantized-8-block": (
            "float-quantized", dict(num_bits=8, type="float", strategy="block", block_structure=[16, 32])),
    }
    rows, columns = weight.shape
    for case, (layout, arguments) in cases.items():
        args = QuantizationArgs(**arguments)
        strategy = arguments["strategy"]
        if strategy == "tensor":
            low, high = weight.amin(), weight.amax()
        elif strategy == "block":
            blocks = weight.reshape(rows // 16, 16, columns // 32, 32)
            low, high = blocks.amin((1, 3)), blocks.amax((1, 3))
        else:
            x = weight.reshape(rows, -1, arguments.get("group_size") or columns)
            low, high = x.amin(-1), x.amax(-1)
        scale, zero = calculate_qparams(low, high, args)
        scale = scale.bfloat16().float().reshape(-1) if strategy == "tensor" else scale.bfloat16().float()
        state = {"weight": weight.clone(), "weight_scale": scale}
        if not args.symmetric:
            state["weight_zero_point"] = zero
        scheme = QuantizationScheme(targets=["Linear"], weights=args, format=layout)
        compressor = BaseCompressor.get_value_from_registry(layout)
        packed = compressor.compress(state, scheme)
        for suffix, value in packed.items():
            if isinstance(value, torch.Tensor):
                stored = value.bfloat16() if suffix == "weight_scale" else value
                out[f"{case}.{suffix}"] = stored.contiguous()
        out[f"{case}.dense"] = compressor.decompress(packed, scheme)["weight"].float().contiguous()


torch.manual_seed(7)
weight = torch.randn(32, 64)
weight[3] = weight[3].abs() + 0.1
sys.path_awq = next((p for p in sys.path if "autoawq" in p), None)
result = {}
gptq_cases(result, weight)
awq_case(result, weight)
compressed_tensors_cases(result, weight)
save_file(result, sys.argv[1])
print(len(result), "tensors")
