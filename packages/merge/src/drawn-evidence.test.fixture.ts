import { type Evidence, tensor } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";

/** Evidence in which every value is drawn from a seed. */
export function drawnEvidence(layerCount: number, seed: number): Evidence {
  const rng = seededRng(seed);
  const symmetric = (size: number, diagonal: number) => {
    const values = new Float64Array(size * size);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j <= i; j++)
        values[i * size + j] = values[j * size + i] = i === j ? diagonal : rng.uniform();
    }
    return tensor(values, [size, size]);
  };
  return {
    layerCount,
    similarity: symmetric(layerCount, 1),
    tokenStatistics: {
      layerCount,
      tokenCount: 100,
      cosine: symmetric(layerCount + 1, 1),
      angle: symmetric(layerCount + 1, 0),
      norm: new Float64Array(layerCount + 1).fill(1),
    },
    compatible: () => true,
  };
}

/** Answers a list of questions by answering each. */
export function each<In, Out>(
  answer: (asked: In) => Promise<Out>,
): (asked: readonly In[]) => Promise<readonly Out[]> {
  return (asked) => Promise.all(asked.map(answer));
}
