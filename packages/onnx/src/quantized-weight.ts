import type { GraphBuilder, Value } from "./graph-builder.js";

/**
 * A weight [out, in] of few bits as `MatMulNBits` and `GatherBlockQuantized` read it: w = scale · (code − zero point), scale and zero
 * point shared by blocks of neighbouring inputs.
 */
export interface NBitsWeight {
  readonly form: "n-bits";
  readonly shape: readonly [number, number];
  readonly bits: 2 | 4 | 8;
  /** A power of two ≥ 16 that divides the inputs. */
  readonly blockSize: number;
  /** [out, in·bits/8] bytes, low bits first; or the name of the checkpoint's tensor whose bytes these are. */
  readonly codes: Uint8Array | string;
  /** [out, blocks]. */
  readonly scales: Float32Array;
  /** [out, ceil(blocks·bits/8)] bytes, low bits first; absent where all are 2^(bits−1). */
  readonly zeroPoints?: Uint8Array;
  /** [in] the input channel that each column of the codes multiplies; absent: in order. */
  readonly inputOrder?: Int32Array;
}

/** A weight [out, in] that no kernel takes in its few bits: the values that they stand for. */
export interface SimulatedWeight {
  readonly form: "simulated";
  readonly shape: readonly [number, number];
  readonly values: Float32Array;
}

/** How a linear map's inputs are rounded: token by token (s = max|x| over the largest code), or by a scale that calibration found. */
export interface ActivationRounding {
  readonly encoding: "int8" | "float8_e4m3";
  /** Absent: one per token. */
  readonly scale?: number;
}

/** The weight of a linear map, or of an embedding, of a quantised checkpoint. */
export type QuantizedWeight = (NBitsWeight | SimulatedWeight) & { readonly activations?: ActivationRounding };

/** The values of an {@link NBitsWeight} in a graph. */
export interface NBitsValues {
  /** uint8 [out, blocks, blockSize·bits/8] for products, [out, in·bits/8] for rows. */
  readonly codes: Value;
  readonly scales: Value;
  readonly zeroPoints?: Value;
}

/**
 * x · Wᵀ by ONNX Runtime's kernel over the packed codes.
 * @param accuracyLevel - 0: float32 products; 4: x is rounded to int8 block by block, which is faster and errs by about 1e-2
 */
export function nBitsProduct(
  graph: GraphBuilder,
  x: Value,
  { shape, bits, blockSize, inputOrder }: Omit<NBitsWeight, "codes" | "scales" | "zeroPoints">,
  { codes, scales, zeroPoints }: NBitsValues,
  accuracyLevel: 0 | 4,
): Value {
  const [outputs, inputs] = shape;
  return graph.node(
    "MatMulNBits",
    [orderedInputs(graph, x, inputOrder), codes, scales, ...(zeroPoints ? [zeroPoints] : [])],
    {
      contrib: true,
      ints: { K: inputs, N: outputs, bits, block_size: blockSize, accuracy_level: accuracyLevel },
    },
  );
}

/** x · Wᵀ by ONNX's own operators: the codes are decoded (`DequantizeLinear`, opset 21) and multiplied. Codes [out, in], uint4 or uint8. */
export function dequantizedProduct(
  graph: GraphBuilder,
  x: Value,
  { blockSize, inputOrder }: Pick<NBitsWeight, "blockSize" | "inputOrder">,
  { codes, scales, zeroPoints }: Required<NBitsValues>,
): Value {
  const weight = graph.node("DequantizeLinear", [codes, scales, zeroPoints], {
    ints: { axis: 1, block_size: blockSize },
  });
  return graph.node("MatMul", [
    orderedInputs(graph, x, inputOrder),
    graph.node("Transpose", [weight], { ints: { perm: [1, 0] } }),
  ]);
}

/** Rows of W by their index, float32 [.., in]; the codes are looked up before they are decoded. */
export function nBitsRows(
  graph: GraphBuilder,
  rows: Value,
  { bits, blockSize }: Pick<NBitsWeight, "bits" | "blockSize">,
  { codes, scales, zeroPoints }: NBitsValues,
): Value {
  return graph.node("GatherBlockQuantized", [codes, rows, scales, ...(zeroPoints ? [zeroPoints] : [])], {
    contrib: true,
    ints: { bits, block_size: blockSize, gather_axis: 0, quantize_axis: 1 },
  });
}

/** The input's channels in the order of the codes' columns. */
export function orderedInputs(graph: GraphBuilder, x: Value, order: Int32Array | undefined): Value {
  if (!order) return x;
  return graph.node("Gather", [x, graph.constant("int64", Array.from(order))], { ints: { axis: -1 } });
}
