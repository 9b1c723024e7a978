export { type Device, type DeviceOptions, deviceName, devices } from "./device.js";
export {
  type Dimension,
  type ExternalTensor,
  type GraphBuilder,
  graphBuilder,
  isOnnxDType,
  type NodeOptions,
  type OnnxDType,
  type Value,
} from "./graph-builder.js";
export { type OnnxEngine, type OnnxEngineOptions, onnxEngine } from "./onnx-engine.js";
export {
  type OnnxInput,
  type OnnxModel,
  type OnnxNode,
  type OnnxPlace,
  readOnnxModel,
} from "./onnx-model.js";
export {
  type ActivationRounding,
  dequantizedProduct,
  type NBitsValues,
  type NBitsWeight,
  nBitsProduct,
  nBitsRows,
  orderedInputs,
  type QuantizedWeight,
  type SimulatedWeight,
} from "./quantized-weight.js";
export {
  type OnnxArrays,
  type OnnxTensor,
  onnxTensor,
  openSession,
  type Session,
  type SessionOptions,
} from "./session.js";
