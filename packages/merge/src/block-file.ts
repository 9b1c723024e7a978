import { openSafetensors, writeSafetensors } from "@layerfold/checkpoint";
import {
  type Architecture,
  type BlockView,
  contiguousData,
  encodeFloats,
  isLayerfoldError,
  type Role,
  type Tensor,
} from "@layerfold/core";

/** Writes a block's tensors under their roles, in float32, as they ran. */
export function writeBlock(file: string, { layer, tensors }: BlockView): Promise<void> {
  const sources = [...tensors].map(([name, value]) => ({
    name,
    dtype: "float32" as const,
    shape: value.shape,
    bytes: () => encodeFloats(contiguousData(value), "float32"),
  }));
  return writeSafetensors(file, sources, { layer: String(layer) });
}

/** A block that `writeBlock` wrote; undefined where there is none. */
export async function readBlock(file: string, { blocks }: Architecture): Promise<BlockView | undefined> {
  const stored = await openIfThere(file);
  if (!stored) return undefined;
  try {
    const layer = Number(stored.metadata.layer);
    const tensors = new Map<Role, Tensor>();
    for (const role of stored.tensors.keys()) tensors.set(role, await stored.read(role));
    return { layer, type: blocks[layer].type, spec: blocks[layer], tensors };
  } finally {
    await stored.close();
  }
}

/** The values of one of its tensors, row-major. */
export async function readBlockTensor(file: string, role: Role): Promise<Float32Array> {
  const stored = await openSafetensors(file);
  try {
    return (await stored.read(role)).data;
  } finally {
    await stored.close();
  }
}

async function openIfThere(file: string) {
  try {
    return await openSafetensors(file);
  } catch (error) {
    if (isLayerfoldError(error, "FILE_MISSING")) return undefined;
    throw error;
  }
}
