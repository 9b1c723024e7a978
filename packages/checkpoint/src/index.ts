export { batchBySize, type IndexedBatch } from "./batch-by-size.js";
export type { Checkpoint, StoredTensor } from "./checkpoint.js";
export { type Documents, readDocuments } from "./documents.js";
export { endTokens } from "./end-tokens.js";
export { architectureOf, familyOf, knownModelTypes } from "./families.js";
export type { Family, ModelConfig, NamingOptions } from "./family.js";
export { type FloatRange, type FloatReader, floatReader } from "./float-reader.js";
export { type GgmlType, ggmlTypes } from "./gguf/dequantize.js";
export { type ImportGgufOptions, importGguf } from "./gguf/import-gguf.js";
export { type GgufFileType, ggufFileTypes } from "./gguf/tensor-types.js";
export { type WriteGgufOptions, type WrittenGguf, writeGguf } from "./gguf/write-gguf.js";
export type { HubSettings } from "./hub-connection.js";
export { keepLayers } from "./keep-layers.js";
export { layerOf, renamedTensor } from "./layer-name.js";
export { type OpenOptions, openCheckpoint } from "./open-checkpoint.js";
export { hubSettings, pullModel } from "./pull-model.js";
export { quantizedModules } from "./quantization-method.js";
export { type Question, readQuestions } from "./questions.js";
export { randomTensors } from "./random-tensors.js";
export {
  openSafetensors,
  type PiecewiseTensor,
  type SafetensorsFile,
  type TensorSource,
  type WholeTensor,
  writeSafetensors,
} from "./safetensors.js";
export { sealValue, unsealValue } from "./sealed-value.js";
export { serializeConfig } from "./serialize-config.js";
export { type StoredReader, storedReader } from "./stored-reader.js";
export { readTextFile, type TextFileOptions, textExtension } from "./text-file.js";
export { withinTime } from "./time-limit.js";
export {
  type BeginTokenPolicy,
  rangeName,
  reportBegun,
  type TextRange,
  type TokenSequence,
  type TokenSequences,
  tokenWindows,
  type WindowOptions,
} from "./token-windows.js";
export { openTokenizer, promptIds, type Tokenizer, type TokenizerOptions } from "./tokenizer.js";
export {
  type CheckpointContent,
  carryFiles,
  type WrittenCheckpoint,
  writeCheckpoint,
} from "./write-checkpoint.js";
