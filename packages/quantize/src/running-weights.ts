import { type Checkpoint, quantizedModules } from "@layerfold/checkpoint";
import { contiguousData, type QuantizedTensor, type RunContext } from "@layerfold/core";
import type { NBitsWeight, QuantizedWeight } from "@layerfold/onnx";
import { packedWords, packRows } from "./bitstream.js";
import { dequantize } from "./dequantize.js";
import { activationRounding, readQuantizedModule } from "./quantized-modules.js";

/**
 * The weights of a quantised checkpoint as `graph` runs them, by their dense names: in their few bits wherever ONNX Runtime's kernel takes
 * them, pointing at compressed-tensors' own bytes; float8, and groups without a factor of 16, as the values that they stand for. Memory:
 * the packed weights of GPTQ and AWQ files, and all scales. Inputs that the file wants rounded in a way that is not simulated are reported.
 *
 * @throws QUANTIZATION_UNSUPPORTED, QUANTIZED_TENSOR_INVALID
 */
export async function quantizedWeights(
  checkpoint: Checkpoint,
  report?: RunContext["report"],
): Promise<Map<string, QuantizedWeight>> {
  const weights = new Map<string, QuantizedWeight>();
  const asStored: string[] = [];
  let wanted: string | undefined;
  for (const module of quantizedModules(checkpoint)) {
    const codes = await readQuantizedModule(checkpoint, module, report);
    const packed = `${module}.weight_packed`;
    const weight = runningWeight(codes, checkpoint.tensors.has(packed) ? packed : undefined);
    const activations = await activationRounding(checkpoint, module);
    if (activations && "notSimulated" in activations) {
      asStored.push(module);
      wanted ??= activations.notSimulated;
      weights.set(`${module}.weight`, weight);
    } else weights.set(`${module}.weight`, { ...weight, ...(activations && { activations }) });
  }
  if (asStored.length > 0) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "ACTIVATIONS_NOT_QUANTIZED",
      message: `the inputs of ${asStored.length} linear maps, ${asStored[0]} the first, are not rounded as the file asks (${wanted})`,
    });
  }
  return weights;
}

/** How quantised weights run, for people who read a figure that was measured with them. */
export interface RunningSummary {
  /** Linear maps, and an embedding, whose packed codes are multiplied as they are. */
  readonly packed: number;
  /** Those that run as the values that their codes stand for. */
  readonly simulated: number;
  /** To what inputs are rounded, in float32 arithmetic. */
  readonly simulated_activations: "int8" | "float8_e4m3" | null;
}

export function runningSummary(weights: Iterable<QuantizedWeight>): RunningSummary {
  const all = [...weights];
  const packed = all.filter(({ form }) => form === "n-bits").length;
  return {
    packed,
    simulated: all.length - packed,
    simulated_activations: all.find(({ activations }) => activations)?.activations?.encoding ?? null,
  };
}

/**
 * One weight as it runs. The kernel's blocks are powers of two, so a group of another size is several blocks of one scale; 3-bit codes
 * are 4-bit codes that stay below 8; channels that an activation order put into groups are gathered first. Each is exact.
 *
 * @param stored - name of the tensor that holds the codes as {@link packRows} lays them
 */
export function runningWeight(quantized: QuantizedTensor, stored?: string): QuantizedWeight {
  const { shape, groupSize, groupIndex, encoding } = quantized;
  const [rows, columns] = shape;
  const blockSize = powerOfTwoIn(groupSize);
  const inputOrder = groupIndex && orderByGroup(groupIndex, groupSize);
  if (encoding || blockSize < 16 || columns % groupSize !== 0 || (groupIndex && !inputOrder)) {
    return { form: "simulated", shape, values: contiguousData(dequantize(quantized)) };
  }
  const bits = quantized.bits === 3 ? 4 : (quantized.bits as NBitsWeight["bits"]);
  const codes = inputOrder ? inOrder(quantized.codes, inputOrder) : quantized.codes;
  const perGroup = groupSize / blockSize;
  const zeroPoints = repeated(quantized.zeroPoints, perGroup);
  return {
    form: "n-bits",
    shape,
    bits,
    blockSize,
    codes:
      stored !== undefined && !inputOrder && bits === quantized.bits && (columns * bits) % 32 === 0
        ? stored
        : packedBytes(codes, rows, columns, bits),
    scales: repeated(quantized.scales, perGroup),
    ...(zeroPoints.some((zero) => zero !== 2 ** (bits - 1)) && {
      zeroPoints: packedBytes(zeroPoints, rows, columns / blockSize, bits),
    }),
    ...(inputOrder && { inputOrder }),
  };
}

/** The largest power of two that divides a group, at most the kernel's 256. */
function powerOfTwoIn(groupSize: number): number {
  return Math.min(groupSize & -groupSize, 256);
}

/** The channels group by group; undefined where groups differ in size. */
function orderByGroup(groupIndex: Int32Array, groupSize: number): Int32Array | undefined {
  const order = Int32Array.from(groupIndex.keys()).sort((a, b) => groupIndex[a] - groupIndex[b] || a - b);
  return order.every((channel, i) => groupIndex[channel] === Math.floor(i / groupSize)) ? order : undefined;
}

function inOrder(codes: Uint8Array, order: Int32Array): Uint8Array {
  const columns = order.length;
  return codes.map((_, i) => codes[i - (i % columns) + order[i % columns]]);
}

function repeated<A extends Uint8Array | Float32Array>(values: A, times: number): A {
  if (times === 1) return values;
  const out = new (values.constructor as new (length: number) => A)(values.length * times);
  for (let i = 0; i < out.length; i++) out[i] = values[Math.floor(i / times)];
  return out;
}

/** Rows of codes, each padded to a whole byte, not to a word. */
function packedBytes(codes: Uint8Array, rows: number, columns: number, bits: number): Uint8Array {
  const wide = new Uint8Array(packRows(codes, rows, columns, bits).buffer);
  const bytesPerRow = Math.ceil((columns * bits) / 8);
  const stride = packedWords(columns, bits) * 4;
  if (stride === bytesPerRow) return wide;
  const out = new Uint8Array(rows * bytesPerRow);
  for (let row = 0; row < rows; row++) {
    out.set(wide.subarray(row * stride, row * stride + bytesPerRow), row * bytesPerRow);
  }
  return out;
}
