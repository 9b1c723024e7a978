import { type RunContext, tensor, throwIfAborted } from "@layerfold/core";
import { type SymmetricOperator, symmetricEigen } from "@layerfold/linalg";
import type { MarkovChain } from "./markov-spectrum.js";

/** A spectrum as a weighted set of eigenvalue magnitudes; the weights sum to the number of eigenvalues. */
interface WeightedSpectrum {
  readonly magnitudes: Float64Array;
  readonly weights: Float64Array;
}

/** Up to this size every eigenvalue is found. */
const wholeSize = 256;
const probeCount = 16;
const lanczosSteps = 48;

/**
 * The diffusion time at which the von Neumann entropy of the diffusion operator stops falling fast: the knee of H(1) … H(maximumTime)
 * (PHATE: Moon et al. 2019, Nature Biotechnology 37, Methods).
 *
 * @returns an integer 1 … maximumTime
 */
export async function vonNeumannTime(
  chain: MarkovChain,
  ctx: RunContext,
  maximumTime = 100,
): Promise<number> {
  return kneeIndex(await vonNeumannEntropies(chain, maximumTime, ctx)) + 1;
}

/**
 * H(t) = −Σ η_k log η_k, η_k = |λ_k|^t / Σ_j |λ_j|^t, in nats.
 *
 * Up to 256 points from the whole spectrum; beyond that from a spectral density by stochastic Lanczos quadrature (Ubaru, Chen &
 * Saad 2017; 16 probes, 48 steps), with λ₀ = 1 kept exact.
 *
 * @returns [maximumTime] H(1), H(2), …
 */
export async function vonNeumannEntropies(
  chain: MarkovChain,
  maximumTime: number,
  ctx: RunContext,
): Promise<Float64Array> {
  const spectrum =
    chain.operator.size <= wholeSize
      ? await wholeSpectrum(chain.operator)
      : await spectralDensity(chain, ctx);
  return Float64Array.from({ length: maximumTime }, (_, index) => vonNeumannEntropy(spectrum, index + 1));
}

function vonNeumannEntropy({ magnitudes, weights }: WeightedSpectrum, time: number): number {
  // H = log Z − (t/Z) Σ w λ^t log λ
  let total = 0;
  let moment = 0;
  magnitudes.forEach((magnitude, k) => {
    if (magnitude === 0) return;
    const power = weights[k] * magnitude ** time;
    total += power;
    moment += power * Math.log(magnitude);
  });
  return Math.log(total) - (time * moment) / total;
}

async function wholeSpectrum(operator: SymmetricOperator): Promise<WeightedSpectrum> {
  const { size } = operator;
  const identity = new Float64Array(size * size);
  for (let i = 0; i < size; i++) identity[i * size + i] = 1;
  const { values } = symmetricEigen(await operator.apply(tensor(identity, [size, size])));
  return { magnitudes: values.map(Math.abs), weights: new Float64Array(size).fill(1) };
}

/** Lanczos from random signs, all probes at once; each gives nodes and weights of a Gauss rule for its own spectral measure. */
async function spectralDensity(
  { operator, stationary }: MarkovChain,
  ctx: RunContext,
): Promise<WeightedSpectrum> {
  const { size } = operator;
  const rng = ctx.rng.fork("von-neumann-time");
  let previous = new Float64Array(size * probeCount);
  let current = Float64Array.from({ length: size * probeCount }, () => (rng.uniform() < 0.5 ? -1 : 1));
  const columnDots = (a: Float64Array, b: Float64Array, stride: number) => {
    const dots = new Float64Array(probeCount);
    for (let i = 0; i < size; i++) {
      for (let c = 0; c < probeCount; c++)
        dots[c] += a[i * probeCount + c] * b[i * stride + (stride === 1 ? 0 : c)];
    }
    return dots;
  };
  const removeStationary = (block: Float64Array) => {
    const along = columnDots(block, stationary.data, 1);
    for (let i = 0; i < size; i++) {
      for (let c = 0; c < probeCount; c++) block[i * probeCount + c] -= along[c] * stationary.data[i];
    }
  };
  removeStationary(current);
  const squaredNorms = columnDots(current, current, probeCount);
  const norms = squaredNorms.map(Math.sqrt);
  const diagonals: Float64Array[] = [];
  const offDiagonals: Float64Array[] = [];
  let beta = norms;
  for (let step = 0; step < lanczosSteps; step++) {
    throwIfAborted(ctx.signal);
    for (let i = 0; i < current.length; i++) current[i] /= beta[i % probeCount] || 1;
    const image = new Float64Array((await operator.apply(tensor(current, [size, probeCount]))).data);
    removeStationary(image);
    const alpha = columnDots(image, current, probeCount);
    for (let i = 0; i < image.length; i++) {
      const c = i % probeCount;
      image[i] -= alpha[c] * current[i] + (step > 0 ? beta[c] * previous[i] : 0);
    }
    beta = columnDots(image, image, probeCount).map(Math.sqrt);
    diagonals.push(alpha);
    offDiagonals.push(beta);
    previous = current;
    current = image;
  }
  const magnitudes = [1];
  const weights = [1];
  for (let c = 0; c < probeCount; c++) {
    const rule = new Float64Array(lanczosSteps ** 2);
    for (let k = 0; k < lanczosSteps; k++) {
      rule[k * lanczosSteps + k] = diagonals[k][c];
      if (k + 1 < lanczosSteps) rule[k * lanczosSteps + k + 1] = offDiagonals[k][c];
    }
    const { values, vectors } = symmetricEigen(tensor(rule, [lanczosSteps, lanczosSteps]));
    values.forEach((value, k) => {
      magnitudes.push(Math.abs(value));
      weights.push((squaredNorms[c] / probeCount) * vectors.data[k] ** 2);
    });
  }
  return { magnitudes: Float64Array.from(magnitudes), weights: Float64Array.from(weights) };
}

/**
 * Where a curve bends: the point at which two straight lines, one fitted by least squares to what lies up to it and one to what lies
 * from it on, leave the smallest sum of absolute errors.
 *
 * @param values - [count], at equal steps, at least 3
 */
export function kneeIndex(values: Float64Array): number {
  let best = 1;
  let bestError = Number.POSITIVE_INFINITY;
  for (let knee = 1; knee < values.length - 1; knee++) {
    const error = lineError(values.subarray(0, knee + 1)) + lineError(values.subarray(knee));
    if (error < bestError) {
      bestError = error;
      best = knee;
    }
  }
  return best;
}

function lineError(values: Float64Array): number {
  const count = values.length;
  const meanX = (count - 1) / 2;
  let meanY = 0;
  for (const y of values) meanY += y / count;
  let covariance = 0;
  let variance = 0;
  values.forEach((y, x) => {
    covariance += (x - meanX) * (y - meanY);
    variance += (x - meanX) ** 2;
  });
  const slope = covariance / variance;
  let error = 0;
  values.forEach((y, x) => {
    error += Math.abs(y - meanY - slope * (x - meanX));
  });
  return error;
}
