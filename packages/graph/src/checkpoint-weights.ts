import { dirname, isAbsolute, relative, sep } from "node:path";
import type { Checkpoint, StoredTensor } from "@layerfold/checkpoint";
import { type BlockSpec, LayerfoldError } from "@layerfold/core";
import {
  dequantizedProduct,
  type GraphBuilder,
  isOnnxDType,
  type NBitsValues,
  type NBitsWeight,
  nBitsProduct,
  nBitsRows,
  type OnnxDType,
  type QuantizedWeight,
  type SessionOptions,
  type Value,
} from "@layerfold/onnx";
import { denseProduct } from "./linear.js";
import { roundActivations } from "./round-activations.js";

/** How the weights of a quantised checkpoint run. */
export interface QuantizedWeightOptions {
  /** The quantised weights by their dense names (`model.layers.0.mlp.down_proj.weight`), as `quantizedWeights` of the quantize package reads them. */
  readonly quantizedWeights?: ReadonlyMap<string, QuantizedWeight> | undefined;
  /** 0 (default): float32 products of the exact weights. 4: inputs are rounded to int8 block by block, faster, errs by about 1e-2. */
  readonly accuracyLevel?: 0 | 4 | undefined;
  /** The operator of weights of few bits: ONNX Runtime's `MatMulNBits` (default), or ONNX's own `DequantizeLinear` and `MatMul`. */
  readonly operator?: "n-bits" | "qdq" | undefined;
}

/** Where the bytes of tensors lie, as a graph's external data. */
export interface WeightPlaces {
  /** A tensor of the checkpoint. */
  stored(tensor: StoredTensor): { readonly location: string; readonly byteOffset: number };
  /** Bytes that are in memory; absent: they become part of the graph. */
  inMemory?(name: string, bytes: Uint8Array): { readonly location: string; readonly byteOffset: number };
}

/** A checkpoint's weights as parts of a graph. */
export interface CheckpointWeights {
  /** The tensor as float32; ONNX Runtime converts it once, when it loads the graph. */
  float(graph: GraphBuilder, name: string): Value;
  /** x · Wᵀ ([out, in] weights as they lie) or x · W ([in, out]), in whatever form the weight is stored. */
  product(graph: GraphBuilder, x: Value, name: string, layout: BlockSpec["linearLayout"]): Value;
  /** Rows of a matrix by index, float32: looked up as they are stored, so that only they are converted. */
  rows(graph: GraphBuilder, name: string, at: Value): Value;
}

/** Weights that are run from where they lie. */
export interface RunningWeights extends CheckpointWeights {
  /** What the session must be told to find them. */
  readonly session: Pick<SessionOptions, "externalFolder">;
}

/**
 * Points into the checkpoint's files. ONNX Runtime takes one folder per session and follows no link out of it, so the folder is the
 * deepest one that holds every file, links resolved (in the hub's cache the shards are links to blobs).
 *
 * @throws CHECKPOINT_SCATTERED where the files have no folder in common (Windows, several drives); CHECKPOINT_QUANTIZED where the config
 * says that the weights are quantised, and no quantised weights are given
 */
export function checkpointWeights(
  checkpoint: Checkpoint,
  options: QuantizedWeightOptions = {},
): RunningWeights {
  const files = new Set(Array.from(checkpoint.tensors.values(), (tensor) => tensor.file));
  const folder = commonFolder([...files]);
  const weights = placedWeights(checkpoint, options, {
    stored: ({ file, byteOffset }) => ({
      location: relative(folder, file).split(sep).join("/"),
      byteOffset,
    }),
  });
  return { ...weights, session: { externalFolder: folder } };
}

/** The same with the bytes in places of the caller's choice. */
export function placedWeights(
  checkpoint: Checkpoint,
  { quantizedWeights, accuracyLevel = 0, operator = "n-bits" }: QuantizedWeightOptions,
  places: WeightPlaces,
): CheckpointWeights {
  if (checkpoint.config.quantization_config != null && !quantizedWeights) {
    throw new LayerfoldError("CHECKPOINT_QUANTIZED", "the checkpoint's weights are quantised", {
      wanted: "quantizedWeights, or a dense checkpoint",
      where: checkpoint.directory,
    });
  }
  function tensorOf(name: string): StoredTensor {
    const tensor = checkpoint.tensors.get(name);
    if (tensor) return tensor;
    throw new LayerfoldError("TENSOR_MISSING", `no tensor ${name}`, { where: checkpoint.directory });
  }

  function stored(graph: GraphBuilder, name: string): Value {
    const tensor = tensorOf(name);
    const { dtype, shape, file, byteLength } = tensor;
    if (!isOnnxDType(dtype)) {
      throw new LayerfoldError("DTYPE_UNSUPPORTED", "cannot run weights of this element type", {
        wanted: "float64, float32, float16 or bfloat16",
        got: dtype,
        where: `${file}, ${name}`,
      });
    }
    return graph.external(name, { dtype, shape, byteLength, ...places.stored(tensor) });
  }

  function inMemory(
    graph: GraphBuilder,
    name: string,
    dtype: OnnxDType,
    shape: readonly number[],
    data: Uint8Array | Float32Array,
  ): Value {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (!places.inMemory) return graph.data(name, dtype, shape, bytes);
    return graph.external(name, {
      dtype,
      shape,
      byteLength: bytes.byteLength,
      ...places.inMemory(name, bytes),
    });
  }

  function nBitsValues(
    graph: GraphBuilder,
    name: string,
    weight: NBitsWeight,
    use: "product" | "rows",
  ): NBitsValues {
    const { bits, blockSize, codes, scales, zeroPoints } = weight;
    const [outputs, inputs] = weight.shape;
    const blocks = inputs / blockSize;
    const blockBytes = (blockSize * bits) / 8;
    // The same bytes, in the shape that each operator wants.
    const shape = use === "product" ? [outputs, blocks, blockBytes] : [outputs, blocks * blockBytes];
    const byteLength = outputs * blocks * blockBytes;
    return {
      codes:
        typeof codes === "string"
          ? graph.external(`${name}.${use}`, {
              dtype: "uint8",
              shape,
              byteLength,
              ...places.stored(tensorOf(codes)),
            })
          : inMemory(graph, `${name}.${use}`, "uint8", shape, codes),
      scales: inMemory(graph, `${name}.scales`, "float32", [outputs, blocks], scales),
      ...(zeroPoints && {
        zeroPoints: inMemory(
          graph,
          `${name}.zero_points`,
          "uint8",
          [outputs, zeroPoints.length / outputs],
          zeroPoints,
        ),
      }),
    };
  }

  function qdqProduct(graph: GraphBuilder, x: Value, name: string, weight: NBitsWeight): Value {
    const { bits, blockSize, codes, scales } = weight;
    if (bits === 2) {
      throw new LayerfoldError("QUANTIZATION_UNSUPPORTED", "ONNX has no 2-bit type in this version", {
        wanted: "3, 4 or 8 bits, or MatMulNBits",
        where: name,
      });
    }
    const [outputs, inputs] = weight.shape;
    const blocks = inputs / blockSize;
    const dtype = bits === 4 ? "uint4" : "uint8";
    const codesName = `${name}.codes`;
    return dequantizedProduct(graph, x, weight, {
      codes:
        typeof codes === "string"
          ? graph.external(codesName, {
              dtype,
              shape: [outputs, inputs],
              byteLength: (outputs * inputs * bits) / 8,
              ...places.stored(tensorOf(codes)),
            })
          : inMemory(graph, codesName, dtype, [outputs, inputs], codes),
      scales: inMemory(graph, `${name}.scales`, "float32", [outputs, blocks], scales),
      zeroPoints: inMemory(graph, `${name}.zeros`, dtype, [outputs, blocks], tightZeroPoints(weight)),
    });
  }

  function float(graph: GraphBuilder, name: string): Value {
    const value = stored(graph, name);
    return checkpoint.tensors.get(name)?.dtype === "float32" ? value : graph.cast(value, "float32");
  }

  return {
    float,
    product(graph, x, name, layout) {
      const weight = quantizedWeights?.get(name);
      if (!weight) return denseProduct(graph, x, float(graph, name), layout);
      const input = weight.activations ? roundActivations(graph, x, weight.activations) : x;
      if (weight.form === "n-bits" && operator === "qdq") return qdqProduct(graph, input, name, weight);
      if (weight.form === "n-bits") {
        return nBitsProduct(graph, input, weight, nBitsValues(graph, name, weight, "product"), accuracyLevel);
      }
      const values = inMemory(graph, name, "float32", weight.shape, weight.values);
      return denseProduct(graph, input, values, "out-in");
    },
    rows(graph, name, at) {
      const weight = quantizedWeights?.get(name);
      // WebGPU looks up and casts no bfloat16, and float16 only where the adapter has it: there the whole matrix is converted when it is loaded.
      if (!weight && graph.device === "webgpu") return graph.node("Gather", [float(graph, name), at]);
      if (!weight) return graph.cast(graph.node("Gather", [stored(graph, name), at]), "float32");
      if (weight.form === "n-bits" && weight.bits !== 2 && !weight.inputOrder) {
        return nBitsRows(graph, at, weight, nBitsValues(graph, name, weight, "rows"));
      }
      throw new LayerfoldError("QUANTIZATION_UNSUPPORTED", "cannot look rows up in this form", {
        wanted: "groups of 16, 32, 64, … neighbouring channels, 3, 4 or 8 bits",
        where: name,
      });
    },
  };
}

/** Zero points without the padding of each row to a whole byte. */
function tightZeroPoints({ shape, bits, blockSize, zeroPoints }: NBitsWeight): Uint8Array {
  const blocks = shape[1] / blockSize;
  const count = shape[0] * blocks;
  if (bits === 8) return zeroPoints ?? new Uint8Array(count).fill(128);
  const out = new Uint8Array(Math.ceil(count / 2));
  if (!zeroPoints) return out.fill(0x88);
  const bytesPerRow = Math.ceil(blocks / 2);
  for (let i = 0; i < count; i++) {
    const [row, block] = [Math.floor(i / blocks), i % blocks];
    const nibble = (zeroPoints[row * bytesPerRow + (block >> 1)] >> (4 * (block % 2))) & 15;
    out[i >> 1] |= nibble << (4 * (i % 2));
  }
  return out;
}

function commonFolder(files: readonly string[]): string {
  const holds = (folder: string) =>
    files.every((file) => {
      const path = relative(folder, file);
      return !isAbsolute(path) && path !== ".." && !path.startsWith(`..${sep}`);
    });
  let folder = dirname(files[0]);
  while (!holds(folder)) {
    const parent = dirname(folder);
    if (parent === folder) {
      throw new LayerfoldError("CHECKPOINT_SCATTERED", "the checkpoint's files have no folder in common", {
        wanted: "all files on one drive",
        got: files.join(", "),
      });
    }
    folder = parent;
  }
  return folder;
}
