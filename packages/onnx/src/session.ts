import { elementCount, LayerfoldError, threadCount } from "@layerfold/core";
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { Device, DeviceOptions } from "./device.js";
import { openElsewhere } from "./open-elsewhere.js";
import { requireDevice } from "./require-device.js";

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

export interface SessionOptions extends DeviceOptions {
  /** Threads inside an operator; default: what LAYERFOLD_THREADS says, else ONNX Runtime's choice, the physical cores. */
  readonly threads?: number | undefined;
  /** Where the model's external tensors lie: their locations are relative to this absolute path. */
  readonly externalFolder?: string | undefined;
  /** Keep freed memory for the next run; default true. */
  readonly arena?: boolean | undefined;
}

/** A loaded ONNX model. */
export interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /**
   * Runs the model. Inputs are not copied, and must not change until the promise settles.
   * @param wanted - outputs to return; default all. The rest are computed, but not copied out.
   * @throws GRAPH_RUN when ONNX Runtime refuses; DEVICE_MEMORY when the device has no room for what the run needs
   */
  run(
    inputs: Readonly<Record<string, OnnxTensor>>,
    wanted?: readonly string[],
  ): Promise<Record<string, OnnxTensor>>;
  /** Frees the model; the session cannot be used any more. */
  close(): Promise<void>;
}

/**
 * Loads a model into ONNX Runtime. On a device other than the CPU every node must have its place there, unless `allowFallback` is given.
 *
 * @param model - ONNX bytes, or the path of a file
 * @throws GRAPH_LOAD when ONNX Runtime refuses the model; DEVICE_UNAVAILABLE; DEVICE_FALLBACK naming the nodes that would run on the CPU;
 * DEVICE_MEMORY when the weights do not fit on the device
 */
export async function openSession(
  model: Uint8Array | string,
  options: SessionOptions = {},
): Promise<Session> {
  const { externalFolder, arena = true, device = "cpu", allowFallback = false } = options;
  const threads = options.threads ?? (process.env.LAYERFOLD_THREADS ? threadCount() : undefined);
  if (device !== "cpu") await requireDevice(device);
  const checked = device !== "cpu" && !allowFallback;
  const settings = (refusing: boolean): InferenceSession.SessionOptions => ({
    executionProviders: [device],
    ...(threads !== undefined && { intraOpNumThreads: threads }),
    enableCpuMemArena: arena,
    // A refusal is told once, by the error.
    logSeverityLevel: refusing ? 4 : 3,
    extra: {
      session: {
        // Spinning threads gain nothing between the long products of a decoder, and starve whatever else runs on the machine.
        "intra_op.allow_spinning": "0",
        ...(refusing && { disable_cpu_ep_fallback: "1" }),
        ...(externalFolder !== undefined && {
          model_external_initializers_file_folder_path: externalFolder,
        }),
      },
    },
  });
  const where = typeof model === "string" ? model : undefined;
  const session = await (typeof model === "string"
    ? InferenceSession.create(model, settings(checked))
    : InferenceSession.create(model, settings(checked))
  ).catch(async (cause: Error) => {
    if (checked && cause.message.includes("fallback to CPU EP")) {
      const { onCpu } = await openElsewhere(model, settings(false));
      throw fallbackError(onCpu, device, where, cause);
    }
    throw (
      memoryError(device, cause) ??
      new LayerfoldError("GRAPH_LOAD", `ONNX Runtime cannot load the model: ${cause.message}`, {
        ...(where !== undefined && { where }),
        fault: "environment",
        cause,
      })
    );
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
        throw (
          memoryError(device, cause) ??
          new LayerfoldError("GRAPH_RUN", `ONNX Runtime cannot run the model: ${cause.message}`, {
            fault: "environment",
            cause,
          })
        );
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

/** Names the nodes that have no place on the device: the session itself refuses without saying which. */
function fallbackError(
  onCpu: readonly string[],
  device: Device,
  where: string | undefined,
  cause: Error,
): LayerfoldError {
  const shown = onCpu.slice(0, 5).join(", ") || "which, ONNX Runtime does not say";
  const more = onCpu.length > 5 ? ` and ${onCpu.length - 5} more` : "";
  return new LayerfoldError("DEVICE_FALLBACK", `nodes of the graph would run on the CPU: ${shown}${more}`, {
    wanted: `all nodes on ${device}, or allowFallback (--allow-fallback)`,
    where,
    fault: "environment",
    cause,
  });
}

/** How Dawn, ONNX Runtime's WebGPU provider, CUDA and the allocators say that a device has no room, or none in one piece. */
const full =
  /Invalid Buffer|Too many storage buffers|out of memory|failed to allocate|ALLOC_FAILED|exceeds the max/i;

function memoryError(device: Device, cause: Error): LayerfoldError | undefined {
  if (device === "cpu" || !full.test(cause.message)) return undefined;
  return new LayerfoldError("DEVICE_MEMORY", `${device} has no room for that: ${cause.message}`, {
    wanted: "shorter windows, a smaller model, or device cpu; what is done is kept",
    fault: "environment",
    cause,
  });
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
