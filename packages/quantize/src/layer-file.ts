import { readFile } from "node:fs/promises";
import { sealValue, unsealValue } from "@layerfold/checkpoint";
import {
  type BlockSpec,
  contiguousData,
  type Floats,
  type QuantizedTensor,
  type Role,
  type Tensor,
  tensor,
} from "@layerfold/core";
import { writeWholeFile } from "@layerfold/disk";
import { swapped } from "./canonical-block.js";
import { dequantize } from "./dequantize.js";
import type { QuantizationRecord, QuantizedLayer } from "./quantize-layers.js";

interface Content {
  readonly layer: number;
  readonly quantized: ReadonlyMap<Role, QuantizedTensor>;
  /** Tensors that codes do not stand for. */
  readonly rest: ReadonlyMap<Role, { readonly data: Floats; readonly shape: readonly number[] }>;
  readonly records: readonly QuantizationRecord[];
  readonly activationScales: ReadonlyMap<string, Float64Array>;
}

/** Writes what quantisation made of a layer, but for the weights that follow from their codes. */
export async function writeLayer(
  file: string,
  { layer, block, quantized, records, activationScales }: QuantizedLayer,
): Promise<void> {
  const rest = new Map(
    [...block.tensors]
      .filter(([role]) => !quantized.has(role))
      .map(([role, value]) => [role, { data: contiguousData(value), shape: value.shape }]),
  );
  const content: Content = { layer, quantized, rest, records, activationScales };
  await writeWholeFile(file, sealValue(content));
}

/** What `writeLayer` wrote, to the same bits; undefined where there is no such file, or a damaged one. */
export async function readLayer(file: string, spec: BlockSpec): Promise<QuantizedLayer | undefined> {
  const bytes = await readFile(file).catch((error) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (!bytes) return undefined;
  const content = unsealValue(bytes) as Content | undefined;
  if (!content) return undefined;
  const { layer, quantized, rest, records, activationScales } = content;
  const tensors = new Map<Role, Tensor>();
  for (const [role, { data, shape }] of rest) tensors.set(role, tensor(data, shape));
  for (const [role, codes] of quantized) {
    const weight = dequantize(codes);
    tensors.set(role, spec.linearLayout === "in-out" ? swapped(weight) : weight);
  }
  return { layer, block: { layer, type: spec.type, spec, tensors }, quantized, records, activationScales };
}
