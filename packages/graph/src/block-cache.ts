import type { Checkpoint, FloatReader } from "@layerfold/checkpoint";
import { type BlockView, elementCount, type Tensor, tensor } from "@layerfold/core";

/** A checkpoint's blocks as float32, the most recently used of them in memory. */
export interface BlockCache {
  /** The block, for whoever keeps it as long as he likes. */
  get(layer: number): Promise<BlockView>;
  /** Lends the block while `work` runs. Layers that are asked for one after another are read ahead, while the one before them runs. */
  use<T>(layer: number, work: (block: BlockView) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Smaller blocks are not worth the way to another thread and back. */
const smallBlock = 2 ** 24;

interface Entry {
  readonly view: Promise<BlockView>;
  readonly bytes: number;
  /** Somebody holds it for longer than we know. */
  kept: boolean;
  lent: number;
}

/** @param cacheBytes - of decoded blocks; the last one used and the one that is read ahead are kept always */
export function blockCache(checkpoint: Checkpoint, cacheBytes: number, reader: FloatReader): BlockCache {
  const { blocks } = checkpoint.architecture;
  const sizes = blocks.map(
    ({ tensors }) =>
      4 *
      Array.from(tensors.values()).reduce(
        (sum, name) => sum + elementCount(checkpoint.tensors.get(name)?.shape ?? []),
        0,
      ),
  );
  /** In the order of their last use. */
  const entries = new Map<number, Entry>();
  let lastUsed = -1;

  async function read(layer: number): Promise<BlockView> {
    const spec = blocks[layer];
    const names = Array.from(spec.tensors);
    const stored = names.flatMap(([, name]) => checkpoint.tensors.get(name) ?? []);
    if (sizes[layer] < smallBlock || stored.length < names.length) return checkpoint.block(layer);
    const values = await reader.read(stored.map((part) => ({ tensor: part })));
    const tensors = new Map<string, Tensor>();
    names.forEach(([role], i) => {
      tensors.set(role, tensor(values[i], stored[i].shape));
    });
    return { layer, type: spec.type, spec, tensors };
  }

  function touch(layer: number): Entry {
    const entry = entries.get(layer) ?? { view: read(layer), bytes: sizes[layer], kept: false, lent: 0 };
    entries.delete(layer);
    entries.set(layer, entry);
    entry.view.catch(() => {
      if (entries.get(layer) === entry) entries.delete(layer);
    });
    return entry;
  }

  function evict(current: number, ahead: number | undefined): void {
    let bytes = 0;
    for (const [layer, entry] of [...entries].reverse()) {
      bytes += entry.bytes;
      if (bytes <= cacheBytes || layer === current || layer === ahead || entry.lent > 0) continue;
      bytes -= entry.bytes;
      entries.delete(layer);
      if (entry.kept || entry.bytes < smallBlock) continue;
      entry.view.then(
        ({ tensors }) => reader.recycle(Array.from(tensors.values(), ({ data }) => data as Float32Array)),
        () => undefined,
      );
    }
  }

  return {
    async get(layer) {
      const entry = touch(layer);
      entry.kept = true;
      evict(layer, undefined);
      return entry.view;
    },
    async use(layer, work) {
      const entry = touch(layer);
      entry.lent++;
      try {
        const next = layer + 1;
        const ahead =
          (layer === 0 || lastUsed === layer - 1) && next < blocks.length && sizes[next] >= smallBlock;
        if (ahead || lastUsed !== layer) evict(layer, ahead ? next : undefined);
        lastUsed = layer;
        const view = await entry.view;
        // Not before the block itself is there, so that the two never stand in each other's way.
        if (ahead && !entries.has(next)) touch(next);
        return await work(view);
      } finally {
        entry.lent--;
      }
    },
    async close() {
      entries.clear();
      await reader.close();
    },
  };
}
