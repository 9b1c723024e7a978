import { type Checkpoint, floatReader } from "@layerfold/checkpoint";
import {
  type BlockOutput,
  type BlockSpec,
  type BlockView,
  contiguousData,
  type Hidden,
  LayerfoldError,
  type ModelRunner,
  type Tap,
  type Tensor,
  tensor,
} from "@layerfold/core";
import {
  type DeviceOptions,
  graphBuilder,
  type OnnxTensor,
  onnxTensor,
  openSession,
  type Session,
} from "@layerfold/onnx";
import { block } from "./block.js";
import { blockCache } from "./block-cache.js";
import { checkpointWeights, type QuantizedWeightOptions } from "./checkpoint-weights.js";
import { checkLength, embedding } from "./embedding.js";
import type { Head } from "./head.js";
import { denseProduct } from "./linear.js";
import { rotaryTables } from "./rotary-tables.js";
import { checkBatch, sequenceInputs, sequenceValues } from "./sequence.js";
import { slicedHead } from "./sliced-head.js";
import { storedBlocks } from "./stored-blocks.js";

export interface RunnerOptions extends QuantizedWeightOptions, DeviceOptions {
  /** Threads inside an operator; default: the physical cores. */
  readonly threads?: number | undefined;
  /** Decoded blocks are kept up to so many bytes, the last used one and the next always; default 1 GiB. */
  readonly cacheBytes?: number | undefined;
  /** A vocabulary projection larger than this, as float32, is multiplied slice by slice; default 256 MiB. */
  readonly headBytes?: number | undefined;
  /** Round the inputs of the blocks' linear maps, token by token, as integer activations of so many bits would be (W8A8: 8). */
  readonly activationBits?: number | undefined;
}

/** One block's compiled graph. */
interface BlockGraph {
  readonly session: Session;
  /** Width of every inner value that the block offers. */
  readonly taps: ReadonlyMap<Tap, number>;
}

/**
 * Runs a checkpoint block by block. Blocks of one form share a graph whose weights are inputs, so that replaced tensors, also of other
 * widths inside the block, run in the same way as the checkpoint's own; of a quantised checkpoint each block has a graph over its packed
 * weights. Blocks that are asked for one after another are read ahead in a thread. Memory: the cached blocks, and the head, or a slice of
 * it, once it is used.
 *
 * @throws DTYPE_UNSUPPORTED, CHECKPOINT_SCATTERED
 *
 * @example
 * ```ts
 * const runner = await openRunner(await openCheckpoint("models/foldling/checkpoint"));
 * const input = await runner.embed(tokenBatch([[0, 827, 342]]));
 * const { hidden, taps } = await runner.runBlock(0, input, { taps: ["mlp.hidden"] });
 * assert(hidden.states.shape[1] === 3);
 * assert(taps.get("mlp.hidden").shape[2] === 384); // foldling's intermediate size
 * await runner.close();
 * ```
 */
export async function openRunner(checkpoint: Checkpoint, options: RunnerOptions = {}): Promise<ModelRunner> {
  const {
    threads,
    device,
    allowFallback,
    cacheBytes = 2 ** 30,
    headBytes = 2 ** 28,
    activationBits,
    quantizedWeights,
  } = options;
  const { architecture } = checkpoint;
  const { hiddenSize, vocabularySize, blocks } = architecture;
  const tables = rotaryTables(architecture);
  const weights = checkpointWeights(checkpoint, options);
  const reader = floatReader();
  const views = blockCache(checkpoint, cacheBytes, reader);
  const packed =
    quantizedWeights &&
    storedBlocks(checkpoint, weights, tables, { threads, device, allowFallback, cacheBytes });
  const graphs = new Map<string, Promise<BlockGraph>>();
  let embedder: Promise<Session> | undefined;
  let head: Promise<Head> | undefined;

  const openedHead = () => (head ??= slicedHead(checkpoint, reader, headBytes, options));

  function openEmbedder(): Promise<Session> {
    const graph = graphBuilder({ device });
    const ids = graph.input("input_ids", "int32", ["batch", "sequence"]);
    const stream = embedding(graph, architecture, weights, sequenceValues(graph, tables), ids);
    graph.output("stream", stream, "float32", ["batch", "sequence", hiddenSize]);
    return openSession(graph.build(), { threads, device, allowFallback, ...weights.session });
  }

  async function openGraph(
    spec: BlockSpec,
    shapes: ReadonlyMap<string, readonly number[]>,
    wanted: readonly Tap[],
    tapsOnly: boolean,
    given: readonly Tap[],
  ): Promise<BlockGraph> {
    const graph = graphBuilder({ device });
    const taps = new Map<Tap, number>();
    const shape = (role: string) => {
      const found = shapes.get(role);
      if (!found) throw new LayerfoldError("TENSOR_MISSING", `the block lacks ${role}`, { where: spec.type });
      return found;
    };
    const stream = graph.input("stream", "float32", ["batch", "sequence", hiddenSize]);
    const weight = (role: string) => graph.input(`weight.${role}`, "float32", shape(role));
    const out = block(
      {
        graph,
        spec,
        hiddenSize,
        sequence: sequenceValues(graph, tables),
        activationBits,
        has: (role) => shapes.has(role),
        weight,
        product: (x, role) => denseProduct(graph, x, weight(role), spec.linearLayout),
        shape,
        tap(name, value, width) {
          taps.set(name, width);
          const shape = ["batch", "sequence", width];
          const read = given.includes(name) ? graph.input(givenInput(name), "float32", shape) : value;
          if (wanted.includes(name)) graph.output(name, read, "float32", shape);
          return read;
        },
      },
      stream,
    );
    const missing = wanted.find((name) => !taps.has(name));
    if (missing !== undefined) {
      throw new LayerfoldError("TAP_UNKNOWN", "the block has no such inner value", {
        wanted: [...taps.keys()].join(", "),
        got: missing,
        where: spec.type,
      });
    }
    if (!tapsOnly) graph.output("hidden", out, "float32", ["batch", "sequence", hiddenSize]);
    return { session: await openSession(graph.build(), { threads, device, allowFallback }), taps };
  }

  /** The graph for a block of that form and those shapes, with what is wanted of it. */
  function graphFor(
    layer: number,
    replaced: BlockView,
    wanted: readonly Tap[],
    tapsOnly: boolean,
    given: readonly Tap[],
  ): Promise<BlockGraph> {
    const spec = blocks[layer];
    const shapes = new Map(Array.from(replaced.tensors, ([role, { shape }]) => [role, shape] as const));
    const key =
      formOf(spec, tables.indexOf) +
      JSON.stringify([wanted, tapsOnly, given, [...shapes].sort(([a], [b]) => (a < b ? -1 : 1))]);
    let opened = graphs.get(key);
    if (!opened) {
      opened = openGraph(spec, shapes, wanted, tapsOnly, given);
      opened.catch(() => graphs.delete(key));
      graphs.set(key, opened);
    }
    return opened;
  }

  async function runBlock(
    layer: number,
    chosen: BlockView,
    input: Hidden,
    {
      taps,
      part,
      given,
    }: {
      readonly taps: readonly Tap[];
      readonly part: boolean;
      readonly given: ReadonlyMap<Tap, Tensor>;
    },
  ): Promise<BlockOutput> {
    const graph = await graphFor(layer, chosen, taps, part, [...given.keys()]);
    const { shape } = input.states;
    const { inputNames } = graph.session;
    const feeds: Record<string, OnnxTensor> = sequenceInputs(inputNames, tables, input.lengths, shape[1]);
    const feed = (name: string, values: Tensor) => {
      if (inputNames.includes(name)) feeds[name] = float32(values);
    };
    feed("stream", input.states);
    for (const [role, values] of chosen.tensors) feed(`weight.${role}`, values);
    for (const [tap, values] of given) feed(givenInput(tap), values);
    const result = await graph.session.run(feeds, part ? taps : ["hidden", ...taps]);
    const out = (name: string, width: number) =>
      tensor(result[name].data as Float32Array, [shape[0], shape[1], width]);
    return {
      hidden: part ? input : { states: out("hidden", hiddenSize), lengths: input.lengths },
      taps: new Map(taps.map((name) => [name, out(name, graph.taps.get(name)!)])),
    };
  }

  return {
    layerCount: blocks.length,
    hiddenSize,
    vocabularySize,
    async embed(batch) {
      checkBatch(batch, vocabularySize);
      checkLength(architecture, batch.sequenceLength);
      const session = await (embedder ??= openEmbedder());
      const { batchSize, sequenceLength, inputIds, lengths } = batch;
      const { stream } = await session.run({
        input_ids: onnxTensor("int32", inputIds, [batchSize, sequenceLength]),
        ...sequenceInputs(session.inputNames, tables, lengths, sequenceLength),
      });
      return {
        states: tensor(stream.data as Float32Array, [batchSize, sequenceLength, hiddenSize]),
        lengths: lengths.slice(),
      };
    },
    async runBlock(layer, input, { replace, taps = [], tapsOnly = false, given = new Map() } = {}) {
      checkLayer(layer, blocks.length);
      const part = tapsOnly && taps.length > 0;
      const run = (weights: BlockView) => runBlock(layer, weights, input, { taps, part, given });
      if (replace) return run(replace);
      if (packed && taps.length === 0) return { hidden: await packed.run(layer, input), taps: new Map() };
      return views.use(layer, run);
    },
    async head({ states }: Hidden) {
      const [batchSize, sequenceLength] = states.shape;
      const { logits } = await openedHead();
      return tensor(await logits(contiguousData(states)), [batchSize, sequenceLength, vocabularySize]);
    },
    async logProbabilities(rows, targets) {
      const { logProbabilities } = await openedHead();
      return logProbabilities(contiguousData(rows), targets);
    },
    async block(layer) {
      checkLayer(layer, blocks.length);
      return views.get(layer);
    },
    async close() {
      await views.close();
      await packed?.close();
      const opened = await Promise.allSettled(graphs.values());
      graphs.clear();
      for (const result of opened) if (result.status === "fulfilled") await result.value.session.close();
      await (await embedder)?.close();
      await (await head)?.close();
    },
  };
}

function checkLayer(layer: number, layerCount: number): void {
  if (!Number.isInteger(layer) || layer < 0 || layer >= layerCount) {
    throw new LayerfoldError("LAYER_OUT_OF_RANGE", `no layer ${layer}`, { wanted: `0 to ${layerCount - 1}` });
  }
}

function float32(values: Tensor): OnnxTensor {
  const data = contiguousData(values);
  return onnxTensor("float32", data instanceof Float32Array ? data : Float32Array.from(data), values.shape);
}

/** The input that stands for a given inner value, beside the output of its name. */
const givenInput = (tap: Tap) => `given.${tap}`;

/** What two blocks must share to run through one graph, beside their tensors' shapes. */
function formOf(spec: BlockSpec, indexOf: ReturnType<typeof rotaryTables>["indexOf"]): string {
  return JSON.stringify(spec, (key, value) => {
    if (key === "rotary") return value && [indexOf(value), value.interleaved];
    return key === "tensors" || key === "shapes" || key === "type" ? undefined : value;
  });
}
