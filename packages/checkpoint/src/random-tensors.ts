import { type DType, elementCount, encodeFloats, type Rng } from "@layerfold/core";
import { wantedTensors } from "./check-tensors.js";
import { architectureOf } from "./families.js";
import type { ModelConfig } from "./family.js";
import type { WholeTensor } from "./safetensors.js";

/**
 * All tensors of an untrained model: for tests and benchmarks on shapes that are not at hand. Matrices are normal with variance
 * 1 / columns, vectors with variance 0.01 about 1 for weights and about 0 for biases. Made one at a time, when asked.
 */
export function randomTensors(config: ModelConfig, rng: Rng, dtype: DType = "bfloat16"): WholeTensor[] {
  return [...wantedTensors(architectureOf(config))].map(([name, shape]) => ({
    name,
    dtype,
    shape,
    bytes: () => {
      const stream = rng.fork(name);
      const mean = shape.length === 1 && name.endsWith(".weight") ? 1 : 0;
      const deviation = shape.length === 1 ? 0.1 : shape[shape.length - 1] ** -0.5;
      const values = new Float32Array(elementCount(shape));
      for (let i = 0; i < values.length; i++) values[i] = mean + deviation * stream.normal();
      return encodeFloats(values, dtype);
    },
  }));
}
