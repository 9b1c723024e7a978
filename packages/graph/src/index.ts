export type { QuantizedWeightOptions } from "./checkpoint-weights.js";
export { type ExportOptions, exportOnnx } from "./export-onnx.js";
export { chooseExecution, type MemoryNeed, memoryNeed } from "./memory-need.js";
export { type Decoder, type DecoderOptions, type Execution, openDecoder } from "./open-decoder.js";
export {
  type GenerateOptions,
  type Generator,
  type GeneratorOptions,
  openGenerator,
  type SampleOptions,
} from "./open-generator.js";
export { openRunner, type RunnerOptions } from "./open-runner.js";
export { headModel, type RunnerModelOptions, runnerModel } from "./runner-model.js";
export { openTreeDecoder, readsTrees, type TreeDecoder, type TreeDecoderOptions } from "./tree-decoder.js";
