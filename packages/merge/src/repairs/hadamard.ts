import { LayerfoldError, type Matrix, tensor } from "@layerfold/core";

/**
 * An orthogonal matrix of entries ±1/√size: Paley's construction of order p + 1 for the smallest prime p ≡ 3 (mod 4) that divides so (or
 * order 1), doubled after Sylvester until it has the size. It need not be symmetric.
 *
 * @throws HADAMARD_SIZE where no such construction gives this size (it does for 576, 768, 2048, 3584, 4096, …)
 */
export function hadamard(size: number): Matrix<Float64Array> {
  let order = 1;
  while (!(size % order === 0 && isPowerOfTwo(size / order) && (order === 1 || isPaley(order - 1)))) {
    order++;
    if (order > size) {
      throw new LayerfoldError("HADAMARD_SIZE", "no Hadamard matrix of this width is known here", {
        wanted: "a power of two times 1 or p + 1, p a prime and 3 more than a multiple of 4",
        got: `${size}`,
      });
    }
  }
  const signs = order === 1 ? () => 1 : paley(order - 1);
  const data = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      const outer = bitCount(Math.floor(i / order) & Math.floor(j / order)) % 2 === 0 ? 1 : -1;
      data[i * size + j] = (outer * signs(i % order, j % order)) / Math.sqrt(size);
    }
  }
  return tensor(data, [size, size]);
}

const isPowerOfTwo = (n: number) => (n & (n - 1)) === 0;

function isPaley(p: number): boolean {
  if (p < 3 || p % 4 !== 3) return false;
  for (let d = 3; d * d <= p; d += 2) if (p % d === 0) return false;
  return true;
}

function bitCount(n: number): number {
  let count = 0;
  for (let rest = n; rest > 0; rest &= rest - 1) count++;
  return count;
}

/** Entries of I + S, S = [0 1ᵀ; −1 Q] with Q the Jacobsthal matrix of p: skew, so I + S has orthogonal rows. */
function paley(p: number): (i: number, j: number) => number {
  const residues = new Set(Array.from({ length: p - 1 }, (_, x) => (x + 1) ** 2 % p));
  return (i, j) => {
    if (i === j) return 1;
    if (i === 0) return 1;
    if (j === 0) return -1;
    return residues.has((((i - j) % p) + p) % p) ? 1 : -1;
  };
}
