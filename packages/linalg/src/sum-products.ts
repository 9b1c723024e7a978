import type { Floats, Matrix } from "@layerfold/core";

/**
 * Adds products, or with −1 subtracts them, to row-major sums that are laid out alike, one product being held at a time. Products in float32
 * that are summed in float64 lose nothing to each other.
 */
export async function sumProducts(
  sums: Floats,
  sign: 1 | -1,
  products: readonly (() => Promise<Matrix>)[],
): Promise<void> {
  for (const product of products) {
    const { data } = await product();
    for (let k = 0; k < data.length; k++) sums[k] += sign * data[k];
  }
}
