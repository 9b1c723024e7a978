import type { FuzzTarget } from "../target.js";
import { chatTemplate } from "./chat-template.js";
import { config, index, weights } from "./checkpoint.js";
import { gguf } from "./gguf.js";
import { hub } from "./hub.js";
import { onnxDecoder } from "./onnx-decoder.js";
import { plan } from "./plan.js";
import { quantized } from "./quantized.js";
import { recipe } from "./recipe.js";
import { recording } from "./recording.js";
import { safetensors } from "./safetensors.js";
import { similarity } from "./similarity.js";
import { benchmarks, questions, texts } from "./texts.js";
import { tokenRows } from "./token-rows.js";
import { tokenizer } from "./tokenizer.js";
import { unfinishedLayers } from "./unfinished-layers.js";
import { workFolder } from "./work-folder.js";

export const targets: readonly FuzzTarget[] = [
  safetensors,
  config,
  weights,
  index,
  quantized,
  tokenizer,
  chatTemplate,
  gguf,
  onnxDecoder,
  hub,
  plan,
  recipe,
  recording,
  similarity,
  tokenRows,
  texts,
  questions,
  benchmarks,
  workFolder,
  unfinishedLayers,
];
