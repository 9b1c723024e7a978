export { readActivationScales, writeActivationScales } from "./activation-scales.js";
export { awq } from "./awq.js";
export { packAwq, unpackAwq } from "./awq-format.js";
export { packedWords, packRows, unpackRows } from "./bitstream.js";
export {
  type CompressedTensorsLayout,
  packCompressedTensors,
  unpackCompressedTensors,
} from "./compressed-tensors-format.js";
export { dequantize } from "./dequantize.js";
export { type DenseDType, dequantizeCheckpoint, dequantizedCheckpoint } from "./dequantize-checkpoint.js";
export { fp8 } from "./fp8.js";
export { gptq } from "./gptq.js";
export { type GptqVersion, packGptq, unpackGptq } from "./gptq-format.js";
export { resolveGroupSize } from "./grid.js";
export { inputSquares } from "./input-squares.js";
export type { PackedModule, PackedTensor } from "./packed-tensor.js";
export {
  type ModuleFacts,
  type QuantizationFacts,
  quantizationConfig,
} from "./quantization-config.js";
export { logCsv } from "./quantization-log.js";
export {
  type QuantizeCheckpointOptions,
  type QuantizedCheckpoint,
  quantizeCheckpoint,
} from "./quantize-checkpoint.js";
export {
  checkQuantizable,
  type ModuleOverride,
  type QuantizationRecord,
  type QuantizedLayer,
  type QuantizeOptions,
  quantizeLayers,
} from "./quantize-layers.js";
export { isQuantized, readQuantizedModule } from "./quantized-modules.js";
export { rtn } from "./rtn.js";
export {
  quantizedWeights,
  type RunningSummary,
  runningSummary,
  runningWeight,
} from "./running-weights.js";
export {
  type QuantizationScheme,
  type QuantizedFormat,
  type SchemeOptions,
  schemeOf,
  schemeOfPlugins,
} from "./scheme.js";
export { smoothquant } from "./smoothquant.js";
