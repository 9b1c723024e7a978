import type { Floats, Matrix } from "@layerfold/core";

/**
 * Adds products, or with −1 subtracts them, to row-major sums, one after another; the next is made while one is taken in.
 * Both are laid out alike. Sums in float64 of products in float32 lose nothing to each other.
 */
export async function sumProducts(
  sums: Floats,
  sign: 1 | -1,
  products: readonly (() => Promise<Matrix>)[],
): Promise<void> {
  let next = products[0]?.();
  for (let p = 0; next; p++) {
    const { data } = await next;
    next = products[p + 1]?.();
    for (let k = 0; k < data.length; k++) sums[k] += sign * data[k];
  }
}
