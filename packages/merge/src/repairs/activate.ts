import type { Activation } from "@layerfold/core";

/** Puts an activation's values in the place of its inputs, element by element, and returns its derivative. */
export function activate(values: Float32Array, activation: Activation): Float32Array {
  const slope = new Float32Array(values.length);
  const formula = formulas[activation];
  for (let i = 0; i < values.length; i++) formula(values[i], i, values, slope);
  return slope;
}

/** Writes f(z) and f′(z) at position i; a pair for every element would cost more than the exponential. */
type Formula = (z: number, i: number, value: Float32Array, slope: Float32Array) => void;

const swish =
  (beta: number): Formula =>
  (z, i, value, slope) => {
    const share = 1 / (1 + Math.exp(-beta * z));
    value[i] = z * share;
    slope[i] = share * (1 + beta * z * (1 - share));
  };

const formulas: Record<Activation, Formula> = {
  silu: swish(1),
  quick_gelu: swish(1.702),
  gelu(z, i, value, slope) {
    const share = normalDistribution(z);
    value[i] = z * share;
    slope[i] = share + (z * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI);
  },
  gelu_tanh(z, i, value, slope) {
    const root = Math.sqrt(2 / Math.PI);
    const tanh = Math.tanh(root * (z + 0.044715 * z ** 3));
    value[i] = (z * (1 + tanh)) / 2;
    slope[i] = (1 + tanh + z * (1 - tanh ** 2) * root * (1 + 3 * 0.044715 * z ** 2)) / 2;
  },
  relu(z, i, value, slope) {
    value[i] = Math.max(z, 0);
    slope[i] = z > 0 ? 1 : 0;
  },
  relu_squared(z, i, value, slope) {
    value[i] = Math.max(z, 0) ** 2;
    slope[i] = 2 * Math.max(z, 0);
  },
};

/** Φ(z) within 7.5e-8 (Abramowitz & Stegun, formula 26.2.17). */
function normalDistribution(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const series =
    t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const tail = (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * series;
  return z >= 0 ? 1 - tail : tail;
}
