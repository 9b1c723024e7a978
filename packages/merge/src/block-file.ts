import { createHash } from "node:crypto";
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
export function writeBlock(file: string, block: BlockView): Promise<void> {
  const sources = [...block.tensors].map(([name, value]) => ({
    name,
    dtype: "float32" as const,
    shape: value.shape,
    bytes: () => encodeFloats(contiguousData(value), "float32"),
  }));
  return writeSafetensors(file, sources, { layer: String(block.layer), sha256: digest(block) });
}

/** A block that `writeBlock` wrote; undefined where there is none, or a damaged one. */
export async function readBlock(file: string, { blocks }: Architecture): Promise<BlockView | undefined> {
  const stored = await openIfWhole(file);
  if (!stored) return undefined;
  try {
    const layer = Number(stored.metadata.layer);
    const spec = blocks[layer];
    if (!spec) return undefined;
    const tensors = new Map<Role, Tensor>();
    for (const role of stored.tensors.keys()) tensors.set(role, await stored.read(role));
    const block = { layer, type: spec.type, spec, tensors };
    return digest(block) === stored.metadata.sha256 ? block : undefined;
  } finally {
    await stored.close();
  }
}

/** SHA-256 of all that a block's file says, hex. */
function digest({ layer, tensors }: Pick<BlockView, "layer" | "tensors">): string {
  const hash = createHash("sha256").update(`${layer}`);
  for (const role of [...tensors.keys()].sort()) {
    const value = tensors.get(role)!;
    hash.update(JSON.stringify([role, value.shape])).update(encodeFloats(contiguousData(value), "float32"));
  }
  return hash.digest("hex");
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

async function openIfWhole(file: string) {
  try {
    return await openSafetensors(file);
  } catch (error) {
    if (isLayerfoldError(error) && /^(FILE_MISSING|SAFETENSORS_)/.test(error.code)) return undefined;
    throw error;
  }
}
