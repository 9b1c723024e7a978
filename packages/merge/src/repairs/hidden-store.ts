import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Hidden, LayerfoldError, tensor } from "@layerfold/core";
import { readFully, scratchFolder } from "@layerfold/disk";

/** Residual streams of many batches, on disk: however many tokens there are, one batch is in memory. */
export interface HiddenStore {
  readonly batchCount: number;
  /** The first `put` of a batch fixes its size. Batches must be put in order the first time. */
  put(batch: number, hidden: Hidden): Promise<void>;
  get(batch: number): Promise<Hidden>;
}

/** A temporary folder with stores in it; `close` removes them all. */
export interface HiddenStores {
  create(name: string): Promise<HiddenStore>;
  close(): Promise<void>;
}

interface Slot {
  readonly start: number;
  readonly shape: readonly number[];
  readonly lengths: Int32Array;
}

/** Stores of residual streams in a scratch folder of their own; close them whatever happens. */
export async function hiddenStores(): Promise<HiddenStores> {
  const directory = await scratchFolder("streams");
  const handles: FileHandle[] = [];
  return {
    async create(name) {
      const handle = await open(join(directory, name), "w+");
      handles.push(handle);
      return fileStore(handle);
    },
    async close() {
      for (const handle of handles) await handle.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function fileStore(handle: FileHandle): HiddenStore {
  const slots: Slot[] = [];
  let end = 0;
  const bytesOf = ({ shape }: Slot) => shape.reduce((product, n) => product * n, 4);
  return {
    get batchCount() {
      return slots.length;
    },
    async put(batch, { states, lengths }) {
      if (batch === slots.length) {
        slots.push({ start: end, shape: states.shape, lengths });
        end += bytesOf(slots[batch]);
      }
      const slot = slots[batch];
      if (slot?.shape.join() !== states.shape.join()) {
        throw new LayerfoldError("TENSOR_SHAPE", `batch ${batch} has another size than before`, {
          wanted: `[${slot?.shape.join(", ")}]`,
          got: `[${states.shape.join(", ")}]`,
        });
      }
      const bytes = new Uint8Array(
        states.data.buffer,
        states.data.byteOffset + 4 * states.offset,
        bytesOf(slot),
      );
      let written = 0;
      while (written < bytes.length) {
        const step = await handle.write(bytes, written, bytes.length - written, slot.start + written);
        written += step.bytesWritten;
      }
    },
    async get(batch) {
      const slot = slots[batch];
      const data = new Float32Array(bytesOf(slot) / 4);
      const bytes = new Uint8Array(data.buffer);
      await readFully(
        handle,
        bytes,
        slot.start,
        (end) => new LayerfoldError("DISK_FAULT", "a temporary file became shorter", { got: `${end} bytes` }),
      );
      return { states: tensor(data, slot.shape), lengths: slot.lengths };
    },
  };
}
