import { readFile, realpath } from "node:fs/promises";
import { dirname } from "node:path";
import {
  type ActivationSource,
  LayerfoldError,
  type TokenBatch,
  throwIfAborted,
  tokenBatch,
} from "@layerfold/core";
import { fileError, requireRegularFile } from "@layerfold/disk";
import {
  type DeviceOptions,
  type OnnxInput,
  type OnnxTensor,
  onnxTensor,
  openSession,
  readOnnxModel,
} from "@layerfold/onnx";
import { findResidualStream, namedResidualStream, type TapNames } from "./residual-stream.js";

export interface OnnxSourceOptions extends DeviceOptions {
  /** Where the residual stream is; default: found in the graph. */
  readonly tap?: TapNames | undefined;
  readonly threads?: number | undefined;
}

/**
 * Activations from a user's own ONNX decoder, as Optimum, transformers.js or ONNX Runtime GenAI lay it out: `input_ids`, with or
 * without `attention_mask`, `position_ids` and key/value caches, which start empty. The file stays as it is; what runs is a copy of its
 * graph in memory whose outputs are the residual streams, without the head. Weights beside the file are read from there.
 *
 * @throws FILE_MISSING, DEVICE_FALLBACK (files of others ask the CPU for lengths: `allowFallback`), ONNX_INVALID, RESIDUAL_NOT_FOUND, ONNX_INPUT_UNKNOWN naming an input that we cannot fill, GRAPH_LOAD
 */
export async function onnxSource(file: string, options: OnnxSourceOptions = {}): Promise<ActivationSource> {
  let path: string;
  let bytes: Uint8Array;
  try {
    path = await realpath(file);
    await requireRegularFile(path);
    bytes = await readFile(path);
  } catch (error) {
    throw fileError(error, file);
  }
  const model = readOnnxModel(bytes, file);
  const places = options.tap
    ? namedResidualStream(model, options.tap, file)
    : findResidualStream(model, file);
  const session = await openSession(model.tapped(places), {
    threads: options.threads,
    device: options.device,
    allowFallback: options.allowFallback,
    externalFolder: dirname(path),
  });
  const inputs = model.inputs.filter(({ name }) => session.inputNames.includes(name));

  async function run(batch: TokenBatch): Promise<OnnxTensor[]> {
    const feeds = Object.fromEntries(inputs.map((input) => [input.name, feed(input, batch, file)]));
    const results = await session.run(feeds);
    return places.map((_, depth) => results[`tap.${depth}`]);
  }

  // The width of the stream stands nowhere for sure: one token tells it.
  let hiddenSize: number;
  try {
    const [embeddings] = await run(tokenBatch([[0]]));
    hiddenSize = embeddings.shape[embeddings.shape.length - 1];
  } catch (error) {
    await session.close();
    throw error;
  }
  return {
    layerCount: places.length - 1,
    hiddenSize,
    async *capture(batches, ctx) {
      for await (const batch of batches) {
        throwIfAborted(ctx.signal);
        const streams = await run(batch);
        yield { batch, residuals: streams.map(({ data }) => data as Float32Array) };
      }
    },
    close: () => session.close(),
  };
}

/** What an input is given: padding stands right, so real tokens see the same whatever stands there. */
function feed(input: OnnxInput, batch: TokenBatch, where: string): OnnxTensor {
  const { batchSize, sequenceLength, inputIds, lengths } = batch;
  const { name, shape } = input;
  const perToken = (value: (row: number, position: number) => number) =>
    integers(
      input,
      Int32Array.from({ length: batchSize * sequenceLength }, (_, i) =>
        value(Math.floor(i / sequenceLength), i % sequenceLength),
      ),
      [batchSize, sequenceLength],
      where,
    );
  if (name === "input_ids") return integers(input, inputIds, [batchSize, sequenceLength], where);
  if (name === "attention_mask") return perToken((row, position) => (position < lengths[row] ? 1 : 0));
  if (name === "position_ids") return perToken((_, position) => position);
  if (name === "num_logits_to_keep") return integers(input, [1], [], where);
  // Caches: [batch, heads, past, size]; nothing has passed.
  if (/^past|cache/i.test(name) && shape.length === 4 && typeof shape[1] === "number") {
    return empty(input, [batchSize, shape[1], 0, Number(shape[3])], where);
  }
  throw new LayerfoldError(
    "ONNX_INPUT_UNKNOWN",
    "the model takes something that we do not know how to give",
    {
      wanted: "input_ids, attention_mask, position_ids, past_key_values.N.key and .value",
      got: `${name}, ${input.dtype} [${shape.join(", ")}]`,
      where,
    },
  );
}

function integers(
  { name, dtype }: OnnxInput,
  values: ArrayLike<number>,
  shape: readonly number[],
  where: string,
): OnnxTensor {
  if (dtype === "int64") return onnxTensor("int64", BigInt64Array.from(Array.from(values, BigInt)), shape);
  if (dtype === "int32") return onnxTensor("int32", Int32Array.from(values), shape);
  throw new LayerfoldError("ONNX_INPUT_UNKNOWN", "an input has another type than is usual", {
    wanted: "int64 or int32",
    got: dtype,
    where: `${where}, ${name}`,
  });
}

function empty({ name, dtype }: OnnxInput, shape: readonly number[], where: string): OnnxTensor {
  if (dtype === "float32") return onnxTensor("float32", new Float32Array(0), shape);
  if (dtype === "float16") return onnxTensor("float16", new Uint16Array(0), shape);
  throw new LayerfoldError("ONNX_INPUT_UNKNOWN", "a cache has another type than is usual", {
    wanted: "float32 or float16",
    got: dtype,
    where: `${where}, ${name}`,
  });
}
