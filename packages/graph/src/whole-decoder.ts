import type { Checkpoint } from "@layerfold/checkpoint";
import { type TokenBatch, throwIfAborted } from "@layerfold/core";
import { graphBuilder, onnxTensor, openSession } from "@layerfold/onnx";
import { block } from "./block.js";
import { checkpointWeights } from "./checkpoint-weights.js";
import { checkLength, embedding } from "./embedding.js";
import { openHead } from "./head.js";
import type { Decoder, DecoderOptions } from "./open-decoder.js";
import { rotaryTables } from "./rotary-tables.js";
import { checkBatch, sequenceInputs, sequenceValues } from "./sequence.js";
import { storedBlock } from "./stored-block.js";
import { streamLanguageModel } from "./stream-language-model.js";

/** Opens a checkpoint as one ONNX graph; see `openDecoder`. */
export async function openWholeDecoder(
  checkpoint: Checkpoint,
  options: DecoderOptions = {},
): Promise<Decoder> {
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
  const session = await openSession(graph.build(), {
    threads,
    device,
    allowFallback,
    ...weights.session,
  });
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

  const model = streamLanguageModel(
    architecture,
    async function* (batches, ctx) {
      for (const batch of batches) {
        throwIfAborted(ctx?.signal);
        yield (await residuals(batch, [layerCount]))[0];
      }
    },
    {
      logits: async (rows) => (await openedHead()).logits(rows),
      logProbabilities: async (rows, targets) => (await openedHead()).logProbabilities(rows, targets),
    },
  );
  const depths = Array.from({ length: layerCount + 1 }, (_, depth) => depth);
  return {
    ...model,
    layerCount,
    hiddenSize,
    async *capture(batches, ctx) {
      for await (const batch of batches) {
        throwIfAborted(ctx.signal);
        yield { batch, residuals: await residuals(batch, depths) };
      }
    },
    async close() {
      await session.close();
      await (await head)?.close();
    },
  };
}
