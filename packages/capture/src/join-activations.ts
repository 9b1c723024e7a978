import {
  type Activations,
  contiguousData,
  LayerfoldError,
  type TokenStatistics,
  tensor,
} from "@layerfold/core";

/**
 * Captures of the parts of a text as one: the samples of each layer one after the other, the statistics' means weighed by their tokens, summed in
 * float64 in the order of the parts.
 * @param parts - of one model, at least one
 * @throws CAPTURE_DIFFERS where they are not of one model
 */
export function joinActivations(parts: readonly Activations[]): Activations {
  const [first] = parts;
  const width = first.layers[0].shape[1];
  for (const { layers } of parts) {
    if (layers.length === first.layers.length && layers[0].shape[1] === width) continue;
    throw new LayerfoldError("CAPTURE_DIFFERS", "captures of different models are not parts of one", {
      wanted: `${first.layers.length} layers of ${width} values`,
      got: `${layers.length} of ${layers[0].shape[1]}`,
    });
  }
  const layers = first.layers.map((_, layer) => {
    const matrices = parts.map((part) => part.layers[layer]);
    const count = matrices.reduce((sum, { shape }) => sum + shape[0], 0);
    const data = new Float32Array(count * width);
    let at = 0;
    for (const matrix of matrices) {
      data.set(contiguousData(matrix), at);
      at += matrix.shape[0] * width;
    }
    return tensor(data, [count, width]);
  });
  return { layers, statistics: joinStatistics(parts.map(({ statistics }) => statistics)) };
}

function joinStatistics(parts: readonly TokenStatistics[]): TokenStatistics {
  const [{ layerCount }] = parts;
  const depths = layerCount + 1;
  const tokenCount = parts.reduce((sum, part) => sum + part.tokenCount, 0);
  const mean = (of: (part: TokenStatistics) => Float64Array) => {
    const sum = new Float64Array(of(parts[0]).length);
    for (const part of parts) {
      const values = of(part);
      for (let i = 0; i < sum.length; i++) sum[i] += (values[i] * part.tokenCount) / tokenCount;
    }
    return sum;
  };
  return {
    layerCount,
    tokenCount,
    cosine: tensor(
      withDiagonal(
        mean(({ cosine }) => contiguousData(cosine)),
        depths,
        1,
      ),
      [depths, depths],
    ),
    angle: tensor(
      withDiagonal(
        mean(({ angle }) => contiguousData(angle)),
        depths,
        0,
      ),
      [depths, depths],
    ),
    norm: mean(({ norm }) => norm),
  };
}

/** Weights that add up to one do so but for rounding. */
function withDiagonal(matrix: Float64Array, size: number, value: number): Float64Array {
  for (let i = 0; i < size; i++) matrix[i * size + i] = value;
  return matrix;
}
