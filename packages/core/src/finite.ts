import { LayerfoldError } from "./error.js";
import { contiguousData, type Tensor } from "./tensor.js";

/**
 * Refuses a weight that holds NaN or an infinity. O(elements).
 * @param where - what to call it: a tensor's or module's name
 * @throws WEIGHT_NOT_FINITE, naming the first such element by its index along every axis
 */
export function checkFinite(weight: Tensor, where?: string): void {
  const data = contiguousData(weight);
  for (let i = 0; i < data.length; i++) {
    if (Number.isFinite(data[i])) continue;
    const index: number[] = [];
    let rest = i;
    for (const size of [...weight.shape].reverse()) {
      index.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    throw new LayerfoldError("WEIGHT_NOT_FINITE", "a weight is not a finite number", {
      got: `${data[i]} at [${index.join(", ")}]`,
      where,
    });
  }
}
