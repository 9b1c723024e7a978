import { elementCount, LayerfoldError } from "@layerfold/core";
import { InferenceSession, Tensor } from "onnxruntime-node";

/** Element types that go into and come out of a session. */
export interface OnnxArrays {
  readonly float32: Float32Array;
  readonly float64: Float64Array;
  /** Bits. */
  readonly float16: Uint16Array;
  readonly int64: BigInt64Array;
  readonly int32: Int32Array;
  /** 0 or 1. */
  readonly bool: Uint8Array;
}

/** A dense row-major array with its shape. */
export type OnnxTensor<T extends keyof OnnxArrays = keyof OnnxArrays> = {
  [K in T]: { readonly dtype: K; readonly shape: readonly number[]; readonly data: OnnxArrays[K] };
}[T];

export interface SessionOptions {
  /** Threads inside an operator; default: ONNX Runtime's choice, the physical cores. */
  readonly threads?: number | undefined;
  /** Where the model's external tensors lie: their locations are relative to this absolute path. */
  readonly externalFolder?: string | undefined;
  /** Keep freed memory for the next run; default true. */
  readonly arena?: boolean | undefined;
  /** In order of preference; default the CPU. */
  readonly executionProviders?: readonly string[] | undefined;
}

/** A loaded ONNX model. */
export interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /**
   * Runs the model. Inputs are not copied, and must not change until the promise settles.
   * @param wanted - outputs to return; default all. The rest are computed, but not copied out.
   * @throws GRAPH_RUN when ONNX Runtime refuses
   */
  run(
    inputs: Readonly<Record<string, OnnxTensor>>,
    wanted?: readonly string[],
  ): Promise<Record<string, OnnxTensor>>;
  /** Frees the model; the session cannot be used any more. */
  close(): Promise<void>;
}

/**
 * Loads a model into ONNX Runtime.
 *
 * @param model - ONNX bytes, or the path of a file
 * @throws GRAPH_LOAD when ONNX Runtime refuses the model
 */
export async function openSession(
  model: Uint8Array | string,
  options: SessionOptions = {},
): Promise<Session> {
  const { threads, externalFolder, arena = true, executionProviders = ["cpu"] } = options;
  const settings: InferenceSession.SessionOptions = {
    executionProviders: [...executionProviders],
    ...(threads !== undefined && { intraOpNumThreads: threads }),
    enableCpuMemArena: arena,
    logSeverityLevel: 3,
    extra: {
      session: {
        // Spinning threads gain nothing between the long products of a decoder, and starve whatever else runs on the machine.
        "intra_op.allow_spinning": "0",
        ...(externalFolder !== undefined && {
          model_external_initializers_file_folder_path: externalFolder,
        }),
      },
    },
  };
  const session = await (typeof model === "string"
    ? InferenceSession.create(model, settings)
    : InferenceSession.create(model, settings)
  ).catch((cause: Error) => {
    throw new LayerfoldError("GRAPH_LOAD", `ONNX Runtime cannot load the model: ${cause.message}`, {
      ...(typeof model === "string" && { where: model }),
      fault: "environment",
      cause,
    });
  });
  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    async run(inputs, wanted = session.outputNames) {
      const feeds = Object.fromEntries(
        Object.entries(inputs).map(([name, { dtype, data, shape }]) => [
          name,
          new Tensor(dtype, data as Float32Array, [...shape]) as Tensor,
        ]),
      );
      const results = await session.run(feeds, [...wanted]).catch((cause: Error) => {
        throw new LayerfoldError("GRAPH_RUN", `ONNX Runtime cannot run the model: ${cause.message}`, {
          fault: "environment",
          cause,
        });
      });
      return Object.fromEntries(
        wanted.map((name) => {
          const { type, data, dims } = results[name];
          return [name, { dtype: type, data, shape: dims } as unknown as OnnxTensor];
        }),
      );
    },
    close: () => session.release(),
  };
}

/** An ONNX tensor over existing values, which are not copied. */
export function onnxTensor<T extends keyof OnnxArrays>(
  dtype: T,
  data: OnnxArrays[T],
  shape: readonly number[],
): OnnxTensor<T> {
  if (data.length !== elementCount(shape)) {
    throw new LayerfoldError("TENSOR_SHAPE", "the data does not fill the shape", {
      wanted: `${elementCount(shape)} values for [${shape.join(", ")}]`,
      got: `${data.length}`,
    });
  }
  return { dtype, data, shape } as unknown as OnnxTensor<T>;
}
