import type { Checkpoint } from "@layerfold/checkpoint";
import { contiguousData, type Hidden, tensor } from "@layerfold/core";
import { type DeviceOptions, graphBuilder, onnxTensor, openSession, type Session } from "@layerfold/onnx";
import { block } from "./block.js";
import type { RunningWeights } from "./checkpoint-weights.js";
import type { RotaryTables } from "./rotary-tables.js";
import { sequenceInputs, sequenceValues } from "./sequence.js";
import { storedBlock } from "./stored-block.js";

/** Blocks that run on their weights as they are stored, each a graph of its own. */
export interface StoredBlocks {
  run(layer: number, input: Hidden): Promise<Hidden>;
  close(): Promise<void>;
}

/** @param limits.cacheBytes - blocks whose stored weights exceed this together are opened anew when their turn comes */
export function storedBlocks(
  checkpoint: Checkpoint,
  weights: RunningWeights,
  tables: RotaryTables,
  {
    threads,
    device,
    allowFallback,
    cacheBytes,
  }: DeviceOptions & { readonly threads?: number | undefined; readonly cacheBytes: number },
): StoredBlocks {
  const { hiddenSize, blocks } = checkpoint.architecture;
  const total = Array.from(checkpoint.tensors.values()).reduce((sum, { byteLength }) => sum + byteLength, 0);
  const mostOpen = Math.max(1, Math.floor((blocks.length * cacheBytes) / total));
  const opened = new Map<number, Promise<Session>>();

  function open(layer: number): Promise<Session> {
    const graph = graphBuilder({ device });
    const stream = graph.input("stream", "float32", ["batch", "sequence", hiddenSize]);
    const sequence = sequenceValues(graph, tables);
    const out = block(storedBlock({ graph, checkpoint, weights, spec: blocks[layer], sequence }), stream);
    graph.output("hidden", out, "float32", ["batch", "sequence", hiddenSize]);
    return openSession(graph.build(), { threads, device, allowFallback, ...weights.session });
  }

  async function sessionOf(layer: number): Promise<Session> {
    const found = opened.get(layer);
    if (found) return found;
    for (const [oldest, session] of opened) {
      if (opened.size < mostOpen) break;
      opened.delete(oldest);
      await (await session).close();
    }
    const session = open(layer);
    session.catch(() => opened.delete(layer));
    opened.set(layer, session);
    return session;
  }

  return {
    async run(layer, { states, lengths }) {
      const session = await sessionOf(layer);
      const { shape } = states;
      const { hidden } = await session.run({
        stream: onnxTensor("float32", contiguousData(states), shape),
        ...sequenceInputs(session.inputNames, tables, lengths, shape[1]),
      });
      return { states: tensor(hidden.data as Float32Array, shape), lengths };
    },
    async close() {
      const sessions = await Promise.allSettled(opened.values());
      opened.clear();
      for (const result of sessions) if (result.status === "fulfilled") await result.value.close();
    },
  };
}
