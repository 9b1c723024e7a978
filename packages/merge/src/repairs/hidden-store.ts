import { type Hidden, LayerfoldError, tensor } from "@layerfold/core";
import { type FloatSpill, openFloatSpill } from "@layerfold/disk";

/** Residual streams of many batches, on disk: however many tokens there are, one batch is in memory. */
export interface HiddenStore {
  readonly batchCount: number;
  /** The first `put` of a batch fixes its size. Batches must be put in order the first time. */
  put(batch: number, hidden: Hidden): Promise<void>;
  get(batch: number): Promise<Hidden>;
}

/** Stores of residual streams; `close` removes them all, and must be called whatever happens. */
export interface HiddenStores {
  create(name: string): Promise<HiddenStore>;
  close(): Promise<void>;
}

export async function hiddenStores(): Promise<HiddenStores> {
  const spills: FloatSpill[] = [];
  return {
    async create(name) {
      const spill = await openFloatSpill({ name });
      spills.push(spill);
      return storeIn(spill);
    },
    async close() {
      for (const spill of spills) await spill.close();
    },
  };
}

function storeIn(spill: FloatSpill): HiddenStore {
  const slots: { readonly shape: readonly number[]; readonly lengths: Int32Array }[] = [];
  return {
    get batchCount() {
      return slots.length;
    },
    async put(batch, { states, lengths }) {
      if (batch === slots.length) slots.push({ shape: states.shape, lengths });
      const slot = slots[batch];
      if (slot?.shape.join() !== states.shape.join()) {
        throw new LayerfoldError("TENSOR_SHAPE", `batch ${batch} has another size than before`, {
          wanted: `[${slot?.shape.join(", ")}]`,
          got: `[${states.shape.join(", ")}]`,
        });
      }
      const size = states.shape.reduce((product, n) => product * n, 1);
      await spill.put(batch, states.data.subarray(states.offset, states.offset + size));
    },
    async get(batch) {
      const { shape, lengths } = slots[batch];
      return { states: tensor(await spill.get(batch), shape), lengths };
    },
  };
}
