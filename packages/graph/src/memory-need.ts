import type { Checkpoint } from "@layerfold/checkpoint";
import { elementCount, LayerfoldError } from "@layerfold/core";
import type { Execution } from "./open-decoder.js";

/** About how many bytes a model takes in memory while a text runs through it, by the way in which it runs. */
export type MemoryNeed = Readonly<Record<Execution, number>>;

/** Node and ONNX Runtime themselves. */
const base = 300 * 2 ** 20;
/** Padded positions that go through at once. */
const positions = { whole: 4096, blocks: 2048 };
/** Streams of a text that stay in memory between blocks. */
const keptStreams = 2 ** 28;
/** A vocabulary projection that is larger goes slice by slice. */
const largestHead = 2 ** 28;
/** Logits that are looked at at a time, and what their softmax takes. */
const logits = 2 ** 28;

/**
 * Estimates what running a checkpoint takes: weights as float32 (packed ones as they lie), and what a block holds of a batch.
 *
 * @example
 * ```ts
 * const checkpoint = await openCheckpoint("models/foldling/checkpoint");
 * const need = memoryNeed(checkpoint);
 * assert(chooseExecution(need, need.whole) === "whole");
 * assert(chooseExecution(need, need.whole - 1) === "blocks" || need.blocks >= need.whole);
 * ```
 */
export function memoryNeed({ architecture, tensors, config }: Checkpoint): MemoryNeed {
  const { blocks, hiddenSize, head } = architecture;
  const packed = config.quantization_config != null;
  const bytesOf = (names: Iterable<string>) => {
    let sum = 0;
    for (const name of new Set(names)) {
      const stored = tensors.get(name);
      if (stored) sum += packed ? stored.byteLength : 4 * elementCount(stored.shape);
    }
    return sum;
  };
  const inner = Math.max(...blocks.map(({ feedForward }) => feedForward.intermediateSize));
  const perPosition = 4 * (4 * inner + 8 * hiddenSize);
  const streams = 4 * positions.whole * (blocks.length + 1) * hiddenSize;
  const headBytes = bytesOf([head.weight]);
  // A packed model's tensors have names that the blocks do not know.
  const inBlocks = packed
    ? bytesOf(tensors.keys())
    : bytesOf(blocks.flatMap((block) => [...block.tensors.values()]));
  const largest = packed
    ? Math.ceil((2 * inBlocks) / blocks.length)
    : Math.max(...blocks.map((block) => bytesOf(block.tensors.values())));
  // Once as it is read, and once as ONNX Runtime lays it out; small models have few logits.
  const ofHead = (bytes: number) => 2 * bytes + Math.min(logits, 2 * bytes);
  return {
    whole: base + inBlocks + ofHead(headBytes) + positions.whole * perPosition + streams,
    blocks:
      base +
      2 * largest +
      ofHead(Math.min(headBytes, largestHead)) +
      Math.min(keptStreams, inBlocks) +
      positions.blocks * perPosition,
  };
}

/**
 * The way to run that fits: as one graph where there is room for it, else block by block.
 * @param budget - bytes that may be used
 * @throws MEMORY_TOO_SMALL where not even one block finds room, with what it needs
 */
export function chooseExecution(need: MemoryNeed, budget: number): Execution {
  if (need.whole <= budget) return "whole";
  if (need.blocks <= budget) return "blocks";
  const size = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  throw new LayerfoldError("MEMORY_TOO_SMALL", "not even one block at a time finds room in memory", {
    wanted: `about ${size(Math.min(need.blocks, need.whole))}`,
    got: size(budget),
    fault: "environment",
  });
}
