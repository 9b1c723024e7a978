/**
 * Adam (Kingma & Ba, arXiv 1412.6980, algorithm 1) on one parameter, in place.
 *
 * @param values - what is to be moved, of any shape
 * @returns takes the slope of the loss, of the same length, and the learning rate: how far a value moves at most, about
 */
export function adam(
  values: Float32Array | Float64Array,
): (slope: ArrayLike<number>, learningRate: number) => void {
  const [decay1, decay2, epsilon] = [0.9, 0.999, 1e-8];
  // In the values' own precision: a step is bound by memory.
  const [first, second] = [values.slice().fill(0), values.slice().fill(0)];
  let step = 0;
  return (slope, learningRate) => {
    step++;
    const rate = (learningRate * Math.sqrt(1 - decay2 ** step)) / (1 - decay1 ** step);
    for (let i = 0; i < values.length; i++) {
      const value = slope[i];
      const mean = decay1 * first[i] + (1 - decay1) * value;
      const square = decay2 * second[i] + (1 - decay2) * value * value;
      first[i] = mean;
      second[i] = square;
      values[i] -= (rate * mean) / (Math.sqrt(square) + epsilon);
    }
  };
}
