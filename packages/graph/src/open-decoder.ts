import type { Checkpoint } from "@layerfold/checkpoint";
import type { LanguageModel, Tensor, TokenBatch } from "@layerfold/core";
import { type DeviceOptions, graphBuilder, onnxTensor, openSession } from "@layerfold/onnx";
import { block } from "./block.js";
import { checkpointWeights, type QuantizedWeightOptions } from "./checkpoint-weights.js";
import { checkLength, embedding } from "./embedding.js";
import { openHead } from "./head.js";
import { rotaryTables } from "./rotary-tables.js";
import { checkBatch, sequenceInputs, sequenceValues } from "./sequence.js";
import { storedBlock } from "./stored-block.js";
import { streamLanguageModel } from "./stream-language-model.js";

export interface DecoderOptions extends QuantizedWeightOptions, DeviceOptions {
  /** Threads inside an operator; default: the physical cores. */
  readonly threads?: number | undefined;
}

/** What `Decoder.run` returns. */
export interface DecoderOutput {
  /** `[0]` the embeddings, `[l + 1]` the raw stream after block l; each [batch, sequence, hidden], unspecified at padded positions. */
  readonly residuals?: readonly Float32Array[];
  /** [batch, sequence, vocabulary], 0 at padded positions. */
  readonly logits?: Tensor<Float32Array>;
}

/** A whole model, ready to run. */
export interface Decoder extends LanguageModel {
  readonly layerCount: number;
  readonly hiddenSize: number;
  /** @throws BATCH_INVALID, TOKEN_OUT_OF_RANGE, SEQUENCE_TOO_LONG */
  run(
    batch: TokenBatch,
    wanted: { readonly residuals?: boolean; readonly logits?: boolean },
  ): Promise<DecoderOutput>;
  /** Frees the model; the checkpoint stays open. */
  close(): Promise<void>;
}

/**
 * Opens a checkpoint as one ONNX graph whose weights stay in the checkpoint's own safetensors: nothing is converted or written.
 * Arithmetic is float32; a quantised checkpoint's weights, given as such, are multiplied in their few bits. Memory: the weights, dense
 * ones as float32, and per token of a batch all residual streams. The head is loaded when
 * something first asks for logits.
 *
 * @throws DTYPE_UNSUPPORTED, CHECKPOINT_SCATTERED, CHECKPOINT_QUANTIZED, GRAPH_LOAD
 *
 * @example
 * ```ts
 * const checkpoint = await openCheckpoint("models/foldling/checkpoint");
 * const decoder = await openDecoder(checkpoint);
 * const { residuals } = await decoder.run(tokenBatch([[0, 827, 342]]), { residuals: true });
 * assert(residuals.length === decoder.layerCount + 1);
 * assert(residuals[0].length === 3 * decoder.hiddenSize);
 * await decoder.close();
 * ```
 */
export async function openDecoder(checkpoint: Checkpoint, options: DecoderOptions = {}): Promise<Decoder> {
  const { threads, device, allowFallback } = options;
  const { architecture } = checkpoint;
  const { hiddenSize, vocabularySize, blocks } = architecture;
  const layerCount = blocks.length;
  const tables = rotaryTables(architecture);
  const weights = checkpointWeights(checkpoint, options);

  const graph = graphBuilder({ device });
  const sequence = sequenceValues(graph, tables);
  const shape = ["batch", "sequence", hiddenSize];
  const ids = graph.input("input_ids", "int32", ["batch", "sequence"]);
  let stream = embedding(graph, architecture, weights, sequence, ids);
  graph.output("residual.0", stream, "float32", shape);
  blocks.forEach((spec, layer) => {
    stream = block(storedBlock({ graph, checkpoint, weights, spec, sequence }), stream);
    graph.output(`residual.${layer + 1}`, stream, "float32", shape);
  });
  const session = await openSession(graph.build(), { threads, device, allowFallback, ...weights.session });
  let head: ReturnType<typeof openHead> | undefined;
  const openedHead = () => (head ??= openHead(checkpoint, options));

  async function residuals(batch: TokenBatch, wanted: readonly number[]): Promise<Float32Array[]> {
    const { batchSize, sequenceLength, inputIds, lengths } = batch;
    checkBatch(batch, vocabularySize);
    checkLength(architecture, sequenceLength);
    const names = wanted.map((depth) => `residual.${depth}`);
    const result = await session.run(
      {
        input_ids: onnxTensor("int32", inputIds, [batchSize, sequenceLength]),
        ...sequenceInputs(session.inputNames, tables, lengths, sequenceLength),
      },
      names,
    );
    return names.map((name) => result[name].data as Float32Array);
  }

  const { logitsOf, ...model } = streamLanguageModel(
    architecture,
    async (batch) => (await residuals(batch, [layerCount]))[0],
    {
      logits: async (rows) => (await openedHead()).logits(rows),
      logProbabilities: async (rows, targets) => (await openedHead()).logProbabilities(rows, targets),
    },
  );
  return {
    ...model,
    layerCount,
    hiddenSize,
    async run(batch, wanted) {
      const depths = wanted.residuals ? Array.from({ length: layerCount + 1 }, (_, i) => i) : [layerCount];
      const streams = await residuals(batch, depths);
      return {
        ...(wanted.residuals && { residuals: streams }),
        ...(wanted.logits && { logits: await logitsOf(batch, streams[streams.length - 1]) }),
      };
    },
    async close() {
      await session.close();
      await (await head)?.close();
    },
  };
}
