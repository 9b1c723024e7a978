import type { Checkpoint } from "@layerfold/checkpoint";
import { elementCount, LayerfoldError, type Rng, throwIfAborted, tokenBatch } from "@layerfold/core";
import { type DeviceOptions, graphBuilder, type OnnxTensor, onnxTensor, openSession } from "@layerfold/onnx";
import { block } from "./block.js";
import type { BlockState } from "./block-context.js";
import { checkpointWeights, type QuantizedWeightOptions } from "./checkpoint-weights.js";
import { checkLength, embedding } from "./embedding.js";
import { headGraph } from "./head.js";
import { rotaryTables } from "./rotary-tables.js";
import { checkBatch, sequenceInputs, sequenceValues } from "./sequence.js";
import { storedBlock } from "./stored-block.js";

export interface GeneratorOptions extends QuantizedWeightOptions, DeviceOptions {
  /** Threads inside an operator; default: the physical cores. */
  readonly threads?: number | undefined;
}

export interface GenerateOptions {
  readonly maxNewTokens: number;
  /** 0 (default): always the most probable token. Else tokens are drawn from softmax(logits / temperature). */
  readonly temperature?: number | undefined;
  /** Draws the tokens; needed with a temperature. */
  readonly rng?: Rng | undefined;
  /** Generation ends before one of these would be given out. */
  readonly stopTokens?: readonly number[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SampleOptions extends Omit<GenerateOptions, "rng" | "temperature"> {
  /** Texts. */
  readonly count: number;
  /** Above 0; default 1: the model's own distribution. */
  readonly temperature?: number | undefined;
  readonly rng: Rng;
  /** A text that ends by a stop token ends with it; default false: before it. */
  readonly keepStopToken?: boolean | undefined;
  /** Told after every token how many texts still go on. */
  readonly onToken?: ((open: number) => void) | undefined;
}

/** A whole model that continues text. */
export interface Generator {
  /**
   * Continues a prompt, token by token.
   * @param prompt - token ids, at least one
   * @throws TOKEN_OUT_OF_RANGE, BATCH_INVALID (empty prompt), SEQUENCE_TOO_LONG, OPTION_INVALID, INTERRUPTED
   */
  generate(prompt: ArrayLike<number>, options: GenerateOptions): AsyncGenerator<number, void>;
  /**
   * Draws several continuations of one prompt side by side, which costs little more than one: the weights are passed over once a token for
   * all of them. Text i is what `generate` draws with `rng.fork(i)`.
   * @returns each text's new tokens. Memory: count · (prompt + maxNewTokens) · what the model remembers of a token
   * @throws as `generate`
   */
  sample(prompt: ArrayLike<number>, options: SampleOptions): Promise<number[][]>;
  /** Frees the model; the checkpoint stays open. */
  close(): Promise<void>;
}

/** What a batch of sequences of one length has left behind. */
interface Memory {
  /** Tokens. */
  past: number;
  values: ReadonlyMap<string, OnnxTensor>;
}

/**
 * Opens a checkpoint in the form that remembers: attention keys and values, and Mamba's states, are kept between tokens, so that each
 * new token costs one pass over the weights. Weights stay in the checkpoint's own files.
 *
 * @throws DTYPE_UNSUPPORTED, CHECKPOINT_SCATTERED, CHECKPOINT_QUANTIZED, GRAPH_LOAD
 *
 * @example
 * ```ts
 * const generator = await openGenerator(await openCheckpoint("models/foldling/checkpoint"));
 * const tokens = [];
 * for await (const token of generator.generate([0, 827, 342], { maxNewTokens: 5 })) tokens.push(token);
 * assert(tokens.length === 5);
 * await generator.close();
 * ```
 */
export async function openGenerator(
  checkpoint: Checkpoint,
  options: GeneratorOptions = {},
): Promise<Generator> {
  const { threads, device, allowFallback } = options;
  const { architecture } = checkpoint;
  const { hiddenSize, vocabularySize, blocks } = architecture;
  const tables = rotaryTables(architecture);
  const weights = checkpointWeights(checkpoint, options);
  /** Shapes of what is remembered of one sequence, as they are before the first token. */
  const memoryShapes = new Map<string, readonly number[]>();

  const graph = graphBuilder({ device });
  const sequence = sequenceValues(graph, tables);
  let stream = embedding(
    graph,
    architecture,
    weights,
    sequence,
    graph.input("input_ids", "int32", ["batch", "sequence"]),
  );
  blocks.forEach((spec, layer) => {
    const state: BlockState = {
      past(name, shape) {
        memoryShapes.set(
          `${layer}.${name}`,
          shape.map((length) => (length === "batch" ? 1 : length === "past" ? 0 : Number(length))),
        );
        return graph.input(`past.${layer}.${name}`, "float32", shape);
      },
      present(name, value, shape) {
        graph.output(`present.${layer}.${name}`, value, "float32", shape);
      },
    };
    stream = block(storedBlock({ graph, checkpoint, weights, spec, sequence, state }), stream);
  });
  const last = graph.node("Gather", [stream, graph.constant("int64", [-1])], { ints: { axis: 1 } });
  const rows = graph.node("Reshape", [last, graph.constant("int64", [-1, hiddenSize])]);
  graph.output("logits", headGraph(graph, architecture, weights, rows), "float32", ["batch", vocabularySize]);
  const session = await openSession(graph.build(), { threads, device, allowFallback, ...weights.session });

  function emptyMemory(count: number): Memory {
    const values = Array.from(memoryShapes, ([name, [, ...shape]]) => {
      const zeros = new Float32Array(elementCount([count, ...shape]));
      return [name, onnxTensor("float32", zeros, [count, ...shape])] as const;
    });
    return { past: 0, values: new Map(values) };
  }

  /** Runs what is new of sequences of one length. @returns [count, vocabulary] the logits behind each */
  async function advance(rows: readonly (readonly number[])[], memory: Memory): Promise<Float32Array> {
    const count = rows.length;
    const { length } = rows[0];
    // What is remembered was rotated by the frequencies of short sequences: begin anew, as transformers does.
    if (memory.past > 0 && tables.changeover(memory.past, length)) Object.assign(memory, emptyMemory(count));
    const { past, values } = memory;
    const batch = tokenBatch(rows.map((row) => row.slice(past)));
    checkBatch(batch, vocabularySize);
    checkLength(architecture, length);
    const result = await session.run({
      input_ids: onnxTensor("int32", batch.inputIds, [count, batch.sequenceLength]),
      ...sequenceInputs(session.inputNames, tables, batch.lengths, batch.sequenceLength, past),
      ...Object.fromEntries(Array.from(values, ([name, value]) => [`past.${name}`, value])),
    });
    const logits = result.logits.data as Float32Array;
    if (logits.some((value) => !Number.isFinite(value))) {
      throw new LayerfoldError("LOGITS_NOT_FINITE", "the model gave a logit that is not a finite number", {
        where: `behind ${length} tokens`,
      });
    }
    memory.values = new Map(Array.from(values.keys(), (name) => [name, result[`present.${name}`]]));
    memory.past = length;
    return logits;
  }

  return {
    async *generate(prompt, { maxNewTokens, temperature = 0, rng, stopTokens = [], signal }) {
      if (!(temperature >= 0) || (temperature > 0 && !rng)) {
        throw new LayerfoldError(
          "OPTION_INVALID",
          "a temperature is at least 0, and needs a source of randomness",
          { got: `${temperature}`, where: "temperature" },
        );
      }
      const memory = emptyMemory(1);
      const tokens = Array.from(prompt);
      for (let count = 0; count < maxNewTokens; count++) {
        throwIfAborted(signal);
        const logits = await advance([tokens], memory);
        const next = temperature > 0 && rng ? draw(logits, temperature, rng) : mostProbable(logits);
        if (stopTokens.includes(next)) return;
        yield next;
        tokens.push(next);
      }
    },
    async sample(prompt, { count, maxNewTokens, temperature = 1, stopTokens = [], ...options }) {
      const { rng, keepStopToken = false, signal, onToken } = options;
      if (!(temperature > 0)) {
        throw new LayerfoldError("OPTION_INVALID", "texts are drawn at a temperature above 0", {
          got: `${temperature}`,
          where: "temperature",
        });
      }
      const texts = Array.from({ length: count }, () => Array.from(prompt));
      const rngs = texts.map((_, index) => rng.fork(index));
      const memory = emptyMemory(count);
      let open = texts.map((_, index) => index);
      for (let length = 0; length < maxNewTokens && open.length > 0; length++) {
        throwIfAborted(signal);
        const logits = await advance(
          open.map((index) => texts[index]),
          memory,
        );
        const goesOn = open.map((index, row) => {
          const values = logits.subarray(row * vocabularySize, (row + 1) * vocabularySize);
          const next = draw(values, temperature, rngs[index]);
          const ends = stopTokens.includes(next);
          if (!ends || keepStopToken) texts[index].push(next);
          return !ends;
        });
        if (goesOn.includes(false)) {
          open = open.filter((_, row) => goesOn[row]);
          const rows = goesOn.flatMap((on, row) => (on ? [row] : []));
          memory.values = new Map(Array.from(memory.values, ([name, value]) => [name, rowsOf(value, rows)]));
        }
        onToken?.(open.length);
      }
      return texts.map((text) => text.slice(prompt.length));
    },
    close: () => session.close(),
  };
}

function mostProbable(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

/** A token drawn from softmax(logits / temperature). */
function draw(logits: Float32Array, temperature: number, rng: Rng): number {
  const highest = logits[mostProbable(logits)];
  const mass = new Float64Array(logits.length);
  let total = 0;
  for (let id = 0; id < mass.length; id++) {
    mass[id] = Math.exp((logits[id] - highest) / temperature);
    total += mass[id];
  }
  let rest = rng.uniform() * total;
  for (let id = 0; id < mass.length; id++) {
    rest -= mass[id];
    if (rest < 0) return id;
  }
  // Rounding may leave a last crumb.
  return mostProbable(logits);
}

/** Some entries of a tensor's first axis. */
function rowsOf({ data, shape }: OnnxTensor, rows: readonly number[]): OnnxTensor {
  const size = elementCount(shape.slice(1));
  const out = new Float32Array(rows.length * size);
  rows.forEach((row, i) => {
    out.set((data as Float32Array).subarray(row * size, (row + 1) * size), i * size);
  });
  return onnxTensor("float32", out, [rows.length, ...shape.slice(1)]);
}
