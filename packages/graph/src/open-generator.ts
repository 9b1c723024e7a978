import type { Checkpoint } from "@layerfold/checkpoint";
import { elementCount, LayerfoldError, type Rng, throwIfAborted, tokenBatch } from "@layerfold/core";
import { graphBuilder, type OnnxTensor, onnxTensor, openSession } from "@layerfold/onnx";
import { block } from "./block.js";
import type { BlockState } from "./block-context.js";
import { checkpointWeights } from "./checkpoint-weights.js";
import { checkLength, embedding } from "./embedding.js";
import { headGraph } from "./head.js";
import { rotaryTables } from "./rotary-tables.js";
import { checkBatch, sequenceInputs, sequenceValues } from "./sequence.js";
import { storedBlock } from "./stored-block.js";

export interface GeneratorOptions {
  /** Threads inside an operator; default: the physical cores. */
  readonly threads?: number;
}

export interface GenerateOptions {
  readonly maxNewTokens: number;
  /** 0 (default): always the most probable token. Else tokens are drawn from softmax(logits / temperature). */
  readonly temperature?: number;
  /** Draws the tokens; needed with a temperature. */
  readonly rng?: Rng;
  /** Generation ends before one of these would be given out. */
  readonly stopTokens?: readonly number[];
  readonly signal?: AbortSignal;
}

/** A whole model that continues text. */
export interface Generator {
  /**
   * Continues a prompt, token by token.
   * @param prompt - token ids, at least one
   * @throws TOKEN_OUT_OF_RANGE, BATCH_INVALID (empty prompt), SEQUENCE_TOO_LONG, OPTION_INVALID, INTERRUPTED
   */
  generate(prompt: ArrayLike<number>, options: GenerateOptions): AsyncGenerator<number, void>;
  /** Frees the model; the checkpoint stays open. */
  close(): Promise<void>;
}

/**
 * Opens a checkpoint in the form that remembers: attention keys and values, and Mamba's states, are kept between tokens, so that each
 * new token costs one pass over the weights. Weights stay in the checkpoint's own files.
 *
 * @throws DTYPE_UNSUPPORTED, CHECKPOINT_SCATTERED, GRAPH_LOAD
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
  const { architecture } = checkpoint;
  const { hiddenSize, vocabularySize, blocks } = architecture;
  const tables = rotaryTables(architecture);
  const weights = checkpointWeights(checkpoint);
  /** What is remembered, as it is before the first token. */
  const memory = new Map<string, OnnxTensor>();

  const graph = graphBuilder();
  const sequence = sequenceValues(graph, tables);
  let stream = embedding(
    graph,
    architecture,
    weights,
    sequence,
    graph.input("input_ids", "int32", [1, "sequence"]),
  );
  blocks.forEach((spec, layer) => {
    const state: BlockState = {
      past(name, shape) {
        const lengths = shape.map((length) =>
          length === "batch" ? 1 : length === "past" ? 0 : Number(length),
        );
        memory.set(
          `${layer}.${name}`,
          onnxTensor("float32", new Float32Array(elementCount(lengths)), lengths),
        );
        return graph.input(`past.${layer}.${name}`, "float32", shape);
      },
      present(name, value, shape) {
        graph.output(`present.${layer}.${name}`, value, "float32", shape);
      },
    };
    stream = block(storedBlock({ graph, checkpoint, weights, spec, sequence, state }), stream);
  });
  const rows = graph.node("Reshape", [stream, graph.constant("int64", [-1, hiddenSize])]);
  const last = graph.node("Gather", [rows, graph.constant("int64", [-1])]);
  graph.output("logits", headGraph(graph, architecture, weights, last), "float32", [1, vocabularySize]);
  const session = await openSession(graph.build(), {
    threads: options.threads,
    externalFolder: weights.folder,
  });

  return {
    async *generate(prompt, { maxNewTokens, temperature = 0, rng, stopTokens = [], signal }) {
      if (!(temperature >= 0) || (temperature > 0 && !rng)) {
        throw new LayerfoldError(
          "OPTION_INVALID",
          "a temperature is at least 0, and needs a source of randomness",
          {
            got: `${temperature}`,
            where: "temperature",
          },
        );
      }
      let remembered = new Map(memory);
      const tokens = Array.from(prompt);
      let past = 0;
      for (let count = 0; count < maxNewTokens; count++) {
        throwIfAborted(signal);
        if (past > 0 && tables.changeover(past, tokens.length)) {
          // What is remembered was rotated by the frequencies of short sequences: begin anew, as transformers does.
          remembered = new Map(memory);
          past = 0;
        }
        const input = Int32Array.from(tokens.slice(past));
        checkBatch(tokenBatch([input]), vocabularySize);
        checkLength(architecture, tokens.length);
        const result = await session.run({
          input_ids: onnxTensor("int32", input, [1, input.length]),
          ...sequenceInputs(session.inputNames, tables, Int32Array.of(input.length), input.length, past),
          ...Object.fromEntries(Array.from(remembered, ([name, value]) => [`past.${name}`, value])),
        });
        for (const name of remembered.keys()) remembered.set(name, result[`present.${name}`]);
        past = tokens.length;
        const logits = result.logits.data as Float32Array;
        const next = temperature > 0 && rng ? draw(logits, temperature, rng) : mostProbable(logits);
        if (stopTokens.includes(next)) return;
        yield next;
        tokens.push(next);
      }
    },
    close: () => session.close(),
  };
}

function mostProbable(logits: Float32Array): number {
  return logits.reduce((best, logit, id) => (logit > logits[best] ? id : best), 0);
}

/** A token drawn from softmax(logits / temperature). */
function draw(logits: Float32Array, temperature: number, rng: Rng): number {
  const highest = logits[mostProbable(logits)];
  const mass = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  let rest = rng.uniform() * mass.reduce((a, b) => a + b);
  const id = mass.findIndex((m) => (rest -= m) < 0);
  // Rounding may leave a last crumb.
  return id === -1 ? mostProbable(logits) : id;
}
