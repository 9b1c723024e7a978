import { createRequire } from "node:module";

/** Where ONNX Runtime can be told to do its arithmetic. */
export const devices = ["cpu", "webgpu", "cuda"] as const;

/** One of {@link devices}. */
export type Device = (typeof devices)[number];

/** Where a model runs. */
export interface DeviceOptions {
  /** Default the CPU. Weights and activations lie on the device while they are worked on; what goes in and comes out lies in memory. */
  readonly device?: Device | undefined;
  /** Let nodes that the device has no kernel for run on the CPU; default false: such a graph is refused (`DEVICE_FALLBACK`). */
  readonly allowFallback?: boolean | undefined;
}

/**
 * What results depend on beside the model: the device and whose kernels it runs, such as `webgpu of onnxruntime-node 1.30.0`. Undefined on
 * the CPU, which all else is measured against.
 */
export function deviceName({ device = "cpu", allowFallback = false }: DeviceOptions): string | undefined {
  if (device === "cpu") return undefined;
  const { version } = createRequire(import.meta.url)("onnxruntime-node/package.json");
  return `${device} of onnxruntime-node ${version}${allowFallback ? ", with fallback" : ""}`;
}
