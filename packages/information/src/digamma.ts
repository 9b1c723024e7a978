/** Euler's constant. */
const gamma = 0.5772156649015329;

/**
 * The digamma function at whole numbers: ψ(m) = −γ + Σ_{i<m} 1/i.
 * @returns table with `table[m]` = ψ(m) for m = 1 … largest; `table[0]` is −∞
 */
export function digammaTable(largest: number): Float64Array {
  const table = new Float64Array(largest + 1);
  table[0] = Number.NEGATIVE_INFINITY;
  if (largest >= 1) table[1] = -gamma;
  for (let m = 1; m < largest; m++) table[m + 1] = table[m] + 1 / m;
  return table;
}
