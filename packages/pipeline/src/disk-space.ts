import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Checkpoint } from "@layerfold/checkpoint";
import { bytesPerElement } from "@layerfold/core";
import { checkFreeSpace, nearestFolder } from "@layerfold/disk";
import type { QuantizationScheme } from "@layerfold/quantize";
import type { TaskRunner } from "./task-runner.js";

/** Bytes of checkpoints that will be written. */
export interface SpaceNeed {
  /** Those that stay until all is done. */
  readonly kept: readonly number[];
  /** Those of which one after the other goes once it is measured. */
  readonly passing?: readonly number[];
}

/** About how large what is made of a checkpoint will be; rather too little than too much. */
export function expectedBytes({ tensors, architecture, dtype }: Checkpoint) {
  const bytesOf = (names: Iterable<string>) => {
    let sum = 0;
    for (const name of new Set(names)) sum += tensors.get(name)?.byteLength ?? 0;
    return sum;
  };
  const { blocks } = architecture;
  const inBlocks = bytesOf(blocks.flatMap(({ tensors: byRole }) => [...byRole.values()]));
  const beside = bytesOf(tensors.keys()) - inBlocks;
  return {
    /** Of a fold to so many layers. */
    fold: (layers: number) => beside + (inBlocks * layers) / blocks.length,
    /** The same quantised. */
    quantized(layers: number, { quantizer }: Pick<QuantizationScheme, "quantizer">) {
      const { bits = 8 } = quantizer.options as { readonly bits?: number };
      return (
        beside + ((inBlocks * layers) / blocks.length) * Math.min(1, bits / (8 * bytesPerElement(dtype)))
      );
    },
  };
}

/**
 * Whether the disk has room for what will be written, before any of it is made. Folds that stand in the work folder already are taken off.
 * @param places.out - on another disk than the work folder it needs room of its own for what stays
 * @throws DISK_FULL with what is needed and what is free
 */
export async function checkSpace(
  { store }: Pick<TaskRunner, "store">,
  places: { readonly folder: string; readonly out?: string | undefined },
  { kept, passing = [] }: SpaceNeed,
): Promise<void> {
  const sum = (sizes: readonly number[]) => sizes.reduce((total, size) => total + size, 0);
  const made = await store.localBytes(["fold", "quantize"]);
  const needed = sum(kept) + Math.max(0, ...passing) - made;
  await checkFreeSpace(places.folder, needed);
  if (places.out === undefined) return;
  const out = await nearestFolder(dirname(places.out));
  if ((await stat(out)).dev !== (await stat(places.folder)).dev) await checkFreeSpace(out, sum(kept));
}
