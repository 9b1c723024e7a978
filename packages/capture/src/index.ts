export { type CaptureOptions, captureActivations, captureSamples } from "./capture-activations.js";
export { joinActivations } from "./join-activations.js";
export { type OnnxSourceOptions, onnxSource } from "./onnx-source.js";
export { type Pooling, parsePooling, poolingName } from "./pooling.js";
export { type ActivationsMeta, loadActivations, saveActivations } from "./recording.js";
export type { TapNames } from "./residual-stream.js";
export { accumulateTokenStatistics, type TokenStatisticsAccumulator } from "./token-statistics.js";
